"""Once this is imported, its process parses each YAML file, override and interpolation once only.

Hydra's and OmegaConf's parsers are a third of what composing takes. What is no YAML, or no override, is
parsed anew each time, for its message; files are known by their content, those of `conf/` and of Hydra by
their names. Another third is a map of all choices so far, which Hydra makes for each file, for choices that
refer to others: only where one does.
"""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import omegaconf._utils
import omegaconf.base
import omegaconf.omegaconf
import omegaconf.resolvers.oc
import yaml
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.config_source import ConfigResult
from omegaconf.grammar_parser import parse

from nst.config.paths import CONF

LOAD_SINGLE = ConfigLoaderImpl._load_single_config
PARSE_RULE = OverridesParser.parse_rule
CHOICES_SO_FAR = defaults_list._create_interpolation_map


class _Yaml:
    """The module `yaml`, but for `load`."""

    @staticmethod
    def load(stream: Any, Loader: type[yaml.SafeLoader]) -> Any:
        if isinstance(stream, str):
            return yaml.load(stream, Loader)
        text = stream.read()
        try:
            return deepcopy(_loaded(text))
        except yaml.YAMLError:
            stream.seek(0)
            return yaml.load(stream, Loader)  # which names the file

    def __getattr__(self, name: str) -> Any:
        return getattr(yaml, name)


@cache
def _loaded(text: str) -> Any:
    return yaml.load(text, omegaconf._utils.get_yaml_loader())


@cache
def _ruled(text: str, rule: str) -> Any:
    return PARSE_RULE(OverridesParser.create(), text, rule)


def _parse_rule(self: OverridesParser, s: str, rule_name: str) -> Any:
    return deepcopy(_ruled(s, rule_name))


def _choices_so_far(overrides: Any, defaults: Any, self_added: bool) -> Any:
    refer = any(not default.is_self() and default.is_interpolation() for default in defaults)
    return CHOICES_SO_FAR(overrides, defaults, self_added) if refer else None


_files: dict[tuple[str, str], ConfigResult] = {}


def _load_config(self: CachingConfigRepository, config_path: str) -> Any:
    """Not to be written to."""
    key = f"config_path={config_path}"
    if key not in self.cache:
        source = self.delegate._find_object_source(config_path, ObjectType.CONFIG)  # type: ignore[attr-defined]
        place = (source.path, config_path) if source else ("", "")
        found = _files.get(place) or self.delegate.load_config(config_path)
        if found and place[0] in (str(CONF), "hydra.conf"):
            _files[place] = found
        self.cache[key] = found
    return self.cache[key]


class _Copies:
    """A repository whose configs may be written to."""

    def __init__(self, repository: CachingConfigRepository) -> None:
        self.get_schema_source = repository.get_schema_source
        self._repository = repository

    def load_config(self, config_path: str) -> ConfigResult:
        found: Any = self._repository.load_config(config_path)
        return replace(found, config=deepcopy(found.config))


def _load_single_config(self: ConfigLoaderImpl, default: Any, repo: Any) -> ConfigResult:
    return LOAD_SINGLE(self, default, _Copies(repo))  # type: ignore[arg-type]


once = cache(parse)
omegaconf.base.parse = omegaconf._utils.parse = omegaconf.resolvers.oc.parse = once
omegaconf.omegaconf.yaml = _Yaml()
CachingConfigRepository.load_config = _load_config
ConfigLoaderImpl._load_single_config = _load_single_config
OverridesParser.parse_rule = _parse_rule
defaults_list._create_interpolation_map = _choices_so_far
