"""A run directory, read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from nst.io.files import open_regular, open_text
from nst.io.yaml_files import parse_yaml
from nst.runs.record import RunRecord

SAID = ("name", "tags", "notes")  # keys of what a person says of a run
BESIDE = (*SAID, "outputs", "resume", "plan", "tracking", "hydra.")  # how such keys begin that paint nothing


@dataclass(frozen=True)
class Run:
    """A run directory, read. What cannot be read is empty: a broken run is no reason to fail.

    `overrides` are values by their keys, `typed` the same as on the command line.
    """

    folder: Path
    overrides: dict[str, str]
    config: DictConfig
    record: RunRecord
    typed: tuple[str, ...]

    @property
    def title(self) -> str:
        """What it paints, as it was typed: without where to, and what is said of it."""
        typed = [f"{key}={value}" for key, value in self.overrides.items() if not key.startswith(BESIDE)]
        return " ".join(typed) or "the defaults"

    def value(self, key: str) -> Any:
        """The config's value at a dotted key; None if it has none."""
        try:
            return OmegaConf.select(self.config, key)
        except OmegaConfBaseException:  # an interpolation that only resolves inside Hydra
            return None

    def layers(self, kind: str) -> list[str]:
        """The names of its "content" or "style" layers, shallow to deep."""
        chosen = self.value(f"{kind}_layers") or {}
        return sorted(str(name) for name in chosen if chosen[name])

    def parameters(self) -> dict[str, str]:
        """Its config, flat: `weights.tv` -> "1.2", `content_layers` -> "conv1_1 conv2_1".

        Where a run is tracked and what is said of it decide nothing about its canvas, and are left out.
        """
        flat = flatten(OmegaConf.to_container(self.config))  # unresolved, as above
        return {key: value for key, value in flat if not key.startswith("tracking.") and key not in SAID}


def read_run(folder: Path) -> Run:
    """Read a run directory, as far as it can be read."""
    items = _read_yaml(folder / ".hydra/overrides.yaml")
    typed = [str(item) for item in items] if isinstance(items, list) else []
    overrides = {}
    for item in typed:
        key, equals, value = item.lstrip("+~").partition("=")
        overrides[key] = value if equals else "removed"
    config = _config(_read_yaml(folder / ".hydra/config.yaml"))
    return Run(folder, overrides, config, RunRecord.read(folder, lenient=True), tuple(typed))


def canvas_size(folder: Path, name: str = "canvas.png") -> tuple[int, int] | None:
    """(width, height) of a run's canvas, by its header; None where it has none that can be read."""
    try:
        with open_regular(folder / name) as file, Image.open(file) as image:
            return image.size
    except (OSError, SyntaxError):  # Pillow raises the latter for a broken PNG
        return None


def _read_yaml(path: Path) -> Any:
    """What Hydra wrote to a file; None if it cannot be read."""
    try:
        with open_text(path) as file:
            return parse_yaml(file)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None


def _config(found: Any) -> DictConfig:
    try:
        return OmegaConf.create(found if isinstance(found, dict) else {})
    except (OmegaConfBaseException, RecursionError):
        return OmegaConf.create({})


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The values of a config as text, by their dotted keys."""
    if isinstance(value, dict) and prefix in ("content_layers", "style_layers"):
        yield prefix, " ".join(sorted(layer for layer, used in value.items() if used)) or "none"
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from flatten(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list):
        yield prefix, " ".join(str(item) for item in value)
    else:
        yield prefix, str(value)
