"""The YAML that Hydra wrote, read by libyaml; OmegaConf's own reader takes several times as long."""

from typing import IO, Any

import yaml  # type: ignore[import-untyped]

# What Hydra wrote means the same to both: its writer quotes what they would take differently.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(text: IO[str] | bytes) -> Any:
    """What is in it; raises `yaml.YAMLError` where it is no YAML."""
    return yaml.load(text, LOADER)
