"""What the tests of the configuration share: composing as run.py does, without starting it."""

from collections.abc import Sequence
from functools import cache

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from nst.cli import check_overrides, describe_error
from nst.config.composed import from_composed
from nst.config.paths import ROOT
from nst.config.schema import Config, register
from nst.execution.composing import NAMING, Composer, _lent, _top

from . import parsed_once  # noqa: F401

register()


def composed(overrides: Sequence[str] = (), hydra: bool = False) -> DictConfig:
    """What Hydra makes of a command line; with its own part if `hydra`."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=list(overrides), return_hydra_config=hydra)


def config(*overrides: str) -> Config:
    """The checked config of a command line, composed as the cell of a sweep: faster."""
    composer = _composer()
    parsed, values = composer._parse(overrides)
    found, own = composer._choice(parsed, values).config, {_top(part) for part in values}
    with _lent(found, own, NAMING):
        try:
            composer._set(found, parsed, values, 0)
        except HydraException:
            return from_composed(composer(overrides, 0))
        return from_composed(found)


@cache
def _composer() -> Composer:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        return Composer(loader, loader.load_configuration("config", [], RunMode.MULTIRUN))


def refusal(*overrides: str) -> str:
    """The line that a command line is refused with."""
    try:
        check_overrides(overrides, sweep=False)
        config(*overrides)
    except Exception as error:
        return describe_error(error, overrides)
    raise AssertionError(f"{overrides} was not refused")
