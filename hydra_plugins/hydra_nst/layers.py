"""`content_layers=` and `style_layers=` of networks whose layers have no files in `conf/`."""

import re

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf


class LayersSource(ConfigSource):
    """Has `content_layers/NAME` for any name of a layer, such as `features.3`, as if it were `NAME: true`.

    Hydra asks it last. Whether the network has such a layer is checked with the rest of the config.
    """

    LAYER = re.compile(r"(?:content|style)_layers/(\w+(?:\.\w+)*?)(?:\.yaml)?")

    @staticmethod
    def scheme() -> str:
        """How a search path names it."""
        return "layers"

    def available(self) -> bool:
        """Always: it has no place."""
        return True

    def is_group(self, config_path: str) -> bool:
        """The groups are in `conf/`."""
        return False

    def is_config(self, config_path: str) -> bool:
        """Whether it names a layer."""
        return self.LAYER.fullmatch(config_path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Nothing: they are known with the network only."""
        return []

    def load_config(self, config_path: str) -> ConfigResult:
        """The layer, switched on."""
        layer = self.LAYER.fullmatch(config_path)
        assert layer is not None
        config = OmegaConf.create({layer[1]: True})
        return ConfigResult(self.provider, self.full_path(), config, header={"package": None})


class LayersSearchPath(SearchPathPlugin):
    """Makes it known to Hydra, behind every other place."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append it."""
        search_path.append("nst", f"{LayersSource.scheme()}://")
