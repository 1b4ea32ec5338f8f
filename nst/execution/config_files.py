"""The files of a config tree, each read once: Hydra reads them anew for each job that it composes."""

import copy
from dataclasses import replace
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult


class ConfigFiles(ConfigRepository):
    """A repository of configs that hands out copies of what it has read."""

    def __init__(self, repository: ConfigRepository) -> None:
        self.sources = list(repository.sources)
        self._read: dict[tuple[str, str, str], ConfigResult] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "ConfigFiles":
        """One that may be given other sources, as Hydra does, and knows what was read."""
        other = ConfigFiles(self)
        other._read = self._read
        return other

    def load_config(self, config_path: str) -> ConfigResult | None:
        """As Hydra's."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None:
            return None
        place = (source.scheme(), source.path, config_path)
        if place not in self._read:
            found = super().load_config(config_path)
            assert found is not None
            self._read[place] = found
        return replace(self._read[place], config=copy.deepcopy(self._read[place].config))
