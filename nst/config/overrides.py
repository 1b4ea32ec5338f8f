"""Overrides of Hydra's grammar on the config of a run that was painted."""

import copy
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from nst.config.options import OPTION_GROUPS
from nst.config.paths import CONF
from nst.config.schema import Config
from nst.errors import NstError

# Groups whose option stands for all that was there; of the others it says some keys.
WHOLE = (*OPTION_GROUPS, "content_layers", "style_layers")


def override(config: DictConfig, given: Sequence[str]) -> DictConfig:
    """A copy of the config of a run, with the options and values of some overrides.

    As in Hydra, options come before values.

    Raises:
        NstError: an override is about more than the settings of one cell.
        HydraException, OmegaConfBaseException: there is no such option or key, or a value is of another type.
    """
    changed, values = copy.deepcopy(config), []
    known = {entry.name for entry in fields(Config)}
    for part in OverridesParser.create().parse_overrides(list(given)):
        key, line = part.key_or_group, part.input_line
        if part.is_sweep_override():
            raise NstError(f"{line}: takes one value here; give one, and replay again for another")
        if key.partition(".")[0].partition("/")[0] not in known:
            raise NstError(f"{line}: no setting of a run; allowed are {', '.join(sorted(known))}")
        value: Any = part.value()
        if not (CONF / key).is_dir() or isinstance(value, dict) or part.is_delete():
            values.append(part)
            continue
        options = [_option(key, str(name)) for name in (value if isinstance(value, list) else [value])]
        for group in dict.fromkeys(group for option in options for group in option):
            chosen = OmegaConf.merge({}, *(option.get(group, {}) for option in options))
            changed[group] = chosen if group in WHOLE else OmegaConf.merge(changed[group], chosen)
    ConfigLoaderImpl._apply_overrides_to_config(values, changed)
    return changed


def _option(group: str, name: str) -> dict[str, Any]:
    """What an option says, by its group; of one that chooses others, too, what those say by theirs."""
    file = CONF / group / f"{name}.yaml"
    said: Any = OmegaConf.load(file) if file.is_file() else {}
    others = [str(key).removeprefix("override /") for entry in said.get("defaults", []) for key in entry]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        if others:
            composed = compose("config", [f"{group}={name}"])
            return {key: composed[key] for key in (group, *others)}
        return {group: compose(f"{group}/{name}").get(group, {})}
