"""What a cell is, and which cells are painted together."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from torch import Tensor

from nst.config import Config, content_layers, style_layers

# Raised whenever the same config would give another canvas than before.
NUMERICS = 1


@dataclass(frozen=True)
class Job:
    """One cell to paint: its config, its run directory, and the overrides that tell it from others."""

    config: Config
    folder: Path
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """What people call it."""
        return " ".join(self.overrides) or "defaults"


def identity(config: Config, content: Tensor, style: Tensor, weights: str) -> str:
    """A hash of all that decides a cell's pixels.

    Args:
        config: the cell; layers count as the mode uses them, and paths, tracking and device not at all.
        content, style: the images as used, `[3, size, size]`.
        weights: the hash of the network's weights.
    """
    parts = {
        "numerics": NUMERICS,
        "weights": weights,
        "content": _digest(content),
        "style": _digest(style),
        "content_layers": content_layers(config),
        "style_layers": style_layers(config),
        "loss_weights": [config.weights.content, config.weights.style, config.weights.tv],
        "normalize": config.model.normalize,
        "optimizer": dataclasses.asdict(config.optimizer),
        "init_image": config.init_image.name,
        "precision": config.hardware.precision,
    }
    for key in ("activation", "size", "iterations", "save_every", "fps", "seed"):
        parts[key] = getattr(config, key)
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()


def batches(jobs: Sequence[Job], most_rows: Callable[[list[Config]], int]) -> list[list[Job]]:
    """Group the jobs that can share a step, in order of first appearance.

    They share a step when the network, the size, the arithmetic, the kind of optimizer and the
    iterations are the same; everything else may differ from row to row.

    Args:
        jobs: in any order.
        most_rows: the most rows that a batch of such cells may have.
    """
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        config = job.config
        key = [config.model, config.hardware, config.optimizer.name]
        key += [config.size, config.iterations, config.save_every]
        groups.setdefault(json.dumps(key, default=_plain), []).append(job)
    cut = []
    for group in groups.values():
        most = most_rows([job.config for job in group])
        cut += [group[start : start + most] for start in range(0, len(group), most)]
    return cut


def _plain(value: Any) -> Any:
    return value.name if isinstance(value, Enum) else dataclasses.asdict(value)


def _digest(image: Tensor) -> str:
    return hashlib.sha256(image.numpy().tobytes()).hexdigest()
