"""The jobs of a sweep, and which of them are painted together."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst.io.text import escape_unprintable
from nst.runs.record import Status

if TYPE_CHECKING:  # it imports torch, which reports do without
    from nst.config.schema import Config


@dataclass(frozen=True)
class Job:
    """One cell to paint: its config, its run directory, and the overrides that set it apart from the others.

    `digests` are those of its images when it was planned, by the keys that name them.
    """

    config: "Config"
    folder: Path
    overrides: tuple[str, ...]
    digests: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return escape_unprintable(" ".join(self.overrides)) or "defaults"

    def paths(self) -> list[str]:
        """Where on the file system it needs something: its images, its weights, its own folder's place."""
        place = next(parent for parent in self.folder.parents if parent.is_dir())
        return [str(path) for path in (*self.inputs(), place)]

    def inputs(self) -> list[Path]:
        """The files that it reads: its images, its weights."""
        images = self.config.images
        files = [images.content, *images.styles]
        files += [mask for mask in (images.content_mask, images.style_mask) if mask is not None]
        if images.transparency not in ("white", "keep"):
            files.append(images.transparency)
        files += [path for path in [getattr(self.config.init_image, "path", None)] if path]
        if self.config.model.weights not in ("imagenet", "random"):
            files.append(self.config.model.weights)
        # os.path's: of these none raises where a user is unknown.
        return [Path(os.path.realpath(os.path.expanduser(path))) for path in files]


@dataclass(frozen=True)
class Result:
    """What became of a job: its final total loss, or why there is none (then it is NaN)."""

    folder: Path
    name: str
    loss: float
    error: str | None
    taken_from: Path | None = None  # where it was painted, if not for this job
    status: Status = Status.FINISHED


def group_batches(jobs: Sequence[Job], most_rows: Callable[[list["Config"]], int]) -> list[list[Job]]:
    """Group the jobs that can share a step, in order of first appearance, and in a group the deepest first.

    They share a step when the network, the shapes of the canvas, the arithmetic, the optimizer but for what
    its rows may have of their own, and the iterations are the same; everything else may differ from row to
    row. A film is alone. The deepest are first, so that rows which end early are cut off the pass where they
    do (`nst.core.vgg`). Of one depth, rows that read the same layers are neighbours, which need no copies.

    Args:
        jobs: in any order.
        most_rows: the most rows that a batch of such cells may have.
    """
    from nst.config.canvas_shape import canvas_shape  # late: it imports torch
    from nst.config.film import film_of
    from nst.config.layers import content_layers, depth, style_layers

    def place(job: Job) -> tuple[Any, ...]:
        config = job.config
        return -depth(config), config.activation.name, [*style_layers(config)], content_layers(config)

    groups: dict[str, list[Job]] = {}
    for job in jobs:
        config = job.config
        key = [config.model, config.hardware, config.optimizer.shared()]
        key += [canvas_shape(config), config.schedule, config.save_every]
        key += [str(job.folder)] if film_of(config) else []
        groups.setdefault(json.dumps(key, default=_plain), []).append(job)
    cut = []
    for group in groups.values():
        group.sort(key=place)
        most = most_rows([job.config for job in group])
        cut += [group[start : start + most] for start in range(0, len(group), most)]
    return cut


def _plain(value: Any) -> Any:
    return value.name if isinstance(value, Enum) else dataclasses.asdict(value)
