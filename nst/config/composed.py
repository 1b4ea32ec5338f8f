"""From what Hydra composed, or a run recorded, to a checked `Config`."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from importlib import import_module
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nst.config.checks import check
from nst.config.options import OPTION_GROUPS
from nst.config.schema import Config
from nst.core.options import Option
from nst.errors import NstError

_made: dict[tuple[str, str], Option] = {}  # the cells of a sweep have few, and OmegaConf takes its time


def from_composed(composed: DictConfig) -> Config:
    """The composed config as a checked `Config`; raises NstError, one line, on what cannot be painted."""
    _check_keys(composed, Config)
    config = typed(composed)
    check(config)
    return config


def typed(composed: DictConfig) -> Config:
    """The composed config as a `Config`, each option as an object of its own class.

    Raises:
        NstError: there is no such option, or it has no such setting.
        OmegaConfBaseException: a setting is of another type.
    """
    options: dict[str, Option] = {}
    for group in OPTION_GROUPS:
        node = composed[group]
        given: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else {}
        key = group, repr(given)
        if key not in _made:
            _made[key] = _option(group, given)
        options[group] = _made[key]
    config: Any = OmegaConf.to_object(composed)
    for group, option in options.items():
        setattr(config, group, option)
    return config  # type: ignore[no-any-return]


def _option(group: str, given: dict[str, Any]) -> Option:
    """The option that has these settings; raises as `typed` does."""
    base = OPTION_GROUPS[group]
    if "name" not in given:
        raise NstError(f"{group}: has no name, and needs one; give {group}=OPTION")
    if target := given.get("_target_"):
        kind = _imported(str(target), base)
    else:
        kind = type(base.named(str(given["name"])))
    # A run of an older version lacks what has been added since.
    settings = asdict(kind()) | {key: value for key, value in given.items() if key != "_target_"}
    _check_keys(OmegaConf.create(settings), kind, f"{group}.")
    whole = OmegaConf.create({group: OmegaConf.structured(kind)})  # so that errors name the whole key
    made: Any = OmegaConf.to_object(OmegaConf.merge(whole, {group: settings}))
    return made[group]  # type: ignore[no-any-return]


def recorded(values: Mapping[str, Any]) -> DictConfig:
    """The config of a run directory, with what those of older versions do not say.

    Raises as OmegaConf does.
    """
    since = {
        "content_loss": {"name": "mse"},
        "style_loss": {"name": "gram"},
        "scales": {"name": "single"},
        "color": {"name": "style"},
        "images": {"fit": "square"},
    }
    merged = OmegaConf.merge(OmegaConf.structured(Config), since, values)
    assert isinstance(merged, DictConfig)
    return merged


def _imported(target: str, base: type[Option]) -> type[Option]:
    """The class that an option from outside this package names; raises NstError where there is none."""
    key, (module, _, name) = f"{base.group}._target_={target}", target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, TypeError, ValueError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise NstError(f"{key}: cannot be imported ({said}); install it, or see to PYTHONPATH") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise NstError(f"{key}: is no {base.__module__}.{base.__name__}; give a class that is")
    return found


def _check_keys(node: DictConfig, schema: Any, parent: str = "") -> None:
    """Refuse what Hydra's `+KEY=VALUE` and `~KEY` did past the schema."""
    known = [entry.name for entry in fields(schema)]
    for key in map(str, node):
        if key not in known:
            allowed = ", ".join(f"{parent}{name}" for name in known)
            raise NstError(f"{parent}{key}={node[key]}: no such key; allowed are {allowed}")
    for name in known:
        # Not `in node`, which asks for a value: some may be null.
        if name not in list(node) or OmegaConf.is_missing(node, name):
            raise NstError(f"{parent}{name}: has no value, and needs one; give {parent}{name}=VALUE")
        kind = OmegaConf.get_type(node, name)
        if is_dataclass(kind):
            _check_keys(node[name], kind, f"{parent}{name}.")
