"""From what Hydra composed, or a run recorded, to a checked `Config`."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, is_dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf

from nst.config.checks import check
from nst.config.options import OPTION_GROUPS
from nst.config.schema import Config
from nst.core.options import Option
from nst.errors import NstError

_made: dict[tuple[str, str], Option] = {}  # the cells of a sweep have few, and OmegaConf takes its time


def from_composed(composed: DictConfig, read: Mapping[str, Any] = MappingProxyType({})) -> Config:
    """The composed config as a checked `Config`; raises NstError, one line, on what cannot be painted.

    Args:
        composed: with or without its `hydra` node.
        read: values that it is known to have at some of its keys, as `Config` has them.
    """
    _check_keys(composed, Config, read=read)
    config = typed(composed, read)
    check(config)
    return config


def typed(composed: DictConfig, read: Mapping[str, Any] = MappingProxyType({})) -> Config:
    """The composed config as a `Config`, each option as an object of its own class.

    Raises:
        NstError: there is no such option, or it has no such setting.
        OmegaConfBaseException: a setting is of another type.
    """
    values = dict(read)
    for group in OPTION_GROUPS.keys() - read.keys():
        node = composed[group]
        given: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else {}
        key = group, repr(given)
        if key not in _made:
            _made[key] = _option(group, given)
        values[group] = _made[key]
    for name in [entry.name for entry in fields(Config) if entry.name not in values]:
        found = composed[name]
        values[name] = OmegaConf.to_object(found) if isinstance(found, Container) else found
    return Config(**values)


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


def _check_keys(node: DictConfig, schema: Any, parent: str = "", read: Collection[str] = ()) -> None:
    """Refuse what Hydra's `+KEY=VALUE` and `~KEY` did past the schema; below the keys `read` it did not."""
    known, there = [entry.name for entry in fields(schema)], list(map(str, node))
    for key in there:
        if key not in known and (parent or key != "hydra"):
            allowed = ", ".join(f"{parent}{name}" for name in known)
            raise NstError(f"{parent}{key}={node[key]}: no such key; allowed are {allowed}")
    for name in [name for name in known if name not in read]:
        # Not `in node`, which asks for a value: some may be null.
        if name not in there or OmegaConf.is_missing(node, name):
            raise NstError(f"{parent}{name}: has no value, and needs one; give {parent}{name}=VALUE")
        kind = OmegaConf.get_type(node, name)
        if is_dataclass(kind):
            _check_keys(node[name], kind, f"{parent}{name}.")
