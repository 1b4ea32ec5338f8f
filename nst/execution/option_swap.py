"""Composed configs that differ in an option are made of each other: what Hydra takes long for is the rest."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override


@dataclass(frozen=True)
class _Composed:
    """A config that Hydra has composed.

    Attributes:
        lines: the overrides that choose its options.
        files: those of groups whose options are values and no more, by group.
    """

    config: DictConfig
    lines: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]]


class OptionSwap:
    """Puts other options into a config that Hydra has composed, where that is all that they change.

    It is so of an option that is a file of values for its group's own key: no defaults list, no package of
    its own. What the key has then is merged of the same files in the same order as by Hydra; the others are
    not read again.

    Args:
        loader: of the configs.
        master: the config that Hydra gives a sweeper.
    """

    def __init__(self, loader: ConfigLoaderImpl, master: DictConfig) -> None:
        self._loader, self._master, self._name = loader, master, master.hydra.job.config_name
        known: Any = OmegaConf.to_container(master.hydra.overrides.hydra)  # unresolved, as it was given
        self._known: list[str] = known
        _, self._repository = loader._parse_overrides_and_create_caching_repo(self._name, known)
        self._bases: dict[tuple[str, ...], _Composed] = {}
        self._leaves: dict[str, bool] = {}
        self._lists: dict[tuple[str, ...], list[ResultDefault]] = {}
        self._parts: dict[tuple[tuple[str, ...], str, tuple[str, ...]], DictConfig | None] = {}

    def config(self, choices: Sequence[Override]) -> DictConfig:
        """What Hydra makes of overrides that choose options, in a sweep; raises what it raises."""
        lines = tuple(str(part.input_line) for part in choices)
        groups = {part.key_or_group for part in choices}
        if len(groups) == len(choices) and all(map(self._changes_no_value, choices)):
            leaves = {part.key_or_group: part for part in choices if self._files(part)}
            files = {group: self._files(part) for group, part in leaves.items()}
            # Hydra keeps a word, and no list, among the choices.
            kinds = sorted(f"{group}: {type(part.value()).__name__}" for group, part in leaves.items())
            others = (str(part.input_line) for part in choices if part.key_or_group not in leaves)
            base = self._bases.get(kind := (*others, *kinds))
            if base is None:
                self._bases[kind] = _Composed(self._by_hydra(lines), lines, files)
                return self._bases[kind].config
            changed = {group: part for group, part in leaves.items() if files[group] != base.files[group]}
            if swapped := self._swapped(base, changed):
                return swapped
        return self._by_hydra(lines)

    def _by_hydra(self, lines: Sequence[str]) -> DictConfig:
        return self._loader.load_sweep_config(self._master, list(lines))

    def _changes_no_value(self, part: Override) -> bool:
        """Whether nothing of ours is changed but by the options of a group."""
        return part.is_hydra_override() or self._is_choice(part)

    def _is_choice(self, part: Override) -> bool:
        change = part.type is OverrideType.CHANGE and part.package is None
        return change and self._repository.group_exists(part.key_or_group)

    def _files(self, part: Override) -> tuple[str, ...]:
        """The files that an override chooses, if all that they change is their group's own key; else none."""
        group, value = part.key_or_group, part.value()
        if not self._is_choice(part) or "/" in group:
            return ()
        paths = tuple(f"{group}/{name}" for name in (value if isinstance(value, list) else [value]))
        return paths if all(map(self._is_leaf, paths)) else ()

    def _swapped(self, base: _Composed, changed: Mapping[str, Override]) -> DictConfig | None:
        """A copy of a config with other options in it, by group; None where they might change more."""
        swapped = copy.deepcopy(base.config)
        content = swapped._content
        assert isinstance(content, dict)
        for group, part in changed.items():
            node = copy.deepcopy(self._part(base, group, self._files(part)))
            if node is None:
                return None
            content[group] = node
            node._set_parent(swapped)
            if isinstance(part.value(), str):
                swapped.hydra.runtime.choices[group] = part.value()
        return swapped

    def _is_leaf(self, path: str) -> bool:
        if path not in self._leaves:
            found = self._repository.load_config(path) if self._repository.config_exists(path) else None
            self._leaves[path] = (
                found is not None
                and isinstance(found.config, DictConfig)
                and found.header["package"] is None
                and all(default.is_self() for default in found.defaults_list or ())
            )
        return self._leaves[path]

    def _defaults(self, lines: tuple[str, ...]) -> list[ResultDefault]:
        """The files that Hydra merges, in order; none where one is chosen by what another choice is."""
        if lines not in self._lists:
            found = self._loader.compute_defaults_list(
                self._name, [*self._known, *lines], RunMode.RUN
            ).defaults
            every = [self._repository.load_config(str(default.config_path)) for default in found]
            depends = any("${" in str(each.defaults_list) for each in every if each is not None)
            self._lists[lines] = [] if depends else found
        return self._lists[lines]

    def _part(self, base: _Composed, group: str, files: tuple[str, ...]) -> DictConfig | None:
        """What a group's key has with other files of it: merged of what all files say of it."""
        key = (base.lines, group, files)
        if key not in self._parts:
            self._parts[key] = self._merged(self._defaults(base.lines), group, base.files[group], files)
        return self._parts[key]

    def _merged(
        self, defaults: list[ResultDefault], group: str, before: tuple[str, ...], files: tuple[str, ...]
    ) -> DictConfig | None:
        own = [default for default in defaults if default.config_path in before]
        if tuple(str(default.config_path) for default in own) != before:
            return None
        chosen = [replace(own[0], config_path=path) for path in files]
        at = defaults.index(own[0])
        merged = OmegaConf.create()
        with flag_override(merged, "no_deepcopy_set_nodes", True):
            for default in [*defaults[:at], *chosen, *defaults[at + len(own) :]]:
                config = self._loader._load_single_config(default, self._repository).config
                if isinstance(config, DictConfig) and group in config:
                    said = copy.deepcopy(config)
                    said.__dict__["_content"] = {group: said._get_node(group)}
                    merged.merge_with(said)
        part = merged._get_node(group)
        return part if isinstance(part, DictConfig) else None
