"""Once this is imported, its process parses each YAML file, override and interpolation once only.

Hydra's and OmegaConf's parsers are a third of what composing takes. What is no YAML, or no override, is
parsed anew each time, for its message; files are known by their content. Another third is a map of all
choices so far, which Hydra makes for each file, for choices that refer to others: only where one does.
"""

from copy import deepcopy
from functools import cache
from typing import Any

import omegaconf._utils
import omegaconf.base
import omegaconf.omegaconf
import omegaconf.resolvers.oc
import yaml
from hydra._internal import defaults_list
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf.grammar_parser import parse

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


once = cache(parse)
omegaconf.base.parse = omegaconf._utils.parse = omegaconf.resolvers.oc.parse = once
omegaconf.omegaconf.yaml = _Yaml()
OverridesParser.parse_rule = _parse_rule
defaults_list._create_interpolation_map = _choices_so_far
