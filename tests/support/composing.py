"""What the tests of the configuration share: composing as run.py does, without starting it."""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from nst.cli import check_overrides, describe_error
from nst.config.composed import from_composed
from nst.config.paths import ROOT
from nst.config.schema import Config, register

from . import parsed_once  # noqa: F401

register()


def composed(overrides: Sequence[str] = (), hydra: bool = False) -> DictConfig:
    """What Hydra makes of a command line; with its own part if `hydra`."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=list(overrides), return_hydra_config=hydra)


def config(*overrides: str) -> Config:
    """The checked config of a command line."""
    return from_composed(composed(overrides))


def refusal(*overrides: str) -> str:
    """The line that a command line is refused with."""
    try:
        check_overrides(overrides, sweep=False)
        config(*overrides)
    except Exception as error:
        return describe_error(error, overrides)
    raise AssertionError(f"{overrides} was not refused")
