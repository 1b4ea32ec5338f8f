"""A sweep directory as a grid: what its runs varied, and which run answers which combination.

Everything is derived after the fact from the run directories, so that an old sweep, a resumed one
or half of one can be shown as well as a new one.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from nst.errors import NstError
from nst.io.text import as_number, as_written
from nst.runs.description import Description
from nst.runs.reader import SAID, Run, read_run
from nst.runs.record import SweepRecord
from nst.runs.sweep import run_folders

T = TypeVar("T")

DEFAULT = "default"  # the value of an override that a run does not have

SEED_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
"""The layers that the experiments number 0 to 4."""

LAYERS_OF = {
    "reconstruct": ("content", "style"),
    "visualize_content": ("content",),
    "visualize_style": ("style",),
    "visualize_both": ("content", "style"),
}
"""Whose layers each mode uses."""

AXIS_NAMES = {
    "init_image": "initial canvas",
    "optimizer.lr": "learning rate",
    "weights.content": "content weight",
    "weights.style": "style weight",
    "weights.tv": "total variation weight",
    "weights.by": "style layers weighted by",
    "images.content": "content image",
    "images.style": "style image",
    "images.style_weights": "style image weights",
    "hardware.precision": "precision",
}

PATHS = ("images.", "init_image.", "model.weights")  # how the keys begin whose values are files


@dataclass(frozen=True)
class Axis:
    """What a sweep varied: the `key` of an override, and its values in the order they are shown.

    Numbers ascend; other values are in the order they were given. A label is one line, or a line and
    the small print under it, separated by a newline.
    """

    key: str
    name: str
    values: list[str]
    labels: list[str]
    numeric: bool

    @classmethod
    def of(cls, key: str, values: Iterable[str]) -> "Axis":
        """The axis of a key that had these values."""
        found = _unique(values)
        numbers = [as_number(value) for value in found]
        numeric = None not in numbers
        if numeric:
            found.sort(key=float)
        labels = [_label(key, value) for value in found]
        if key.startswith(PATHS):
            labels = _without_folders(labels)
        return cls(key, _axis_name(key, found), found, labels, numeric)


@dataclass(frozen=True)
class Grid:
    """The runs of a sweep by what they varied.

    Several keys may vary down the rows, and several across the columns: `rows` and `columns` have a label
    for each of them. Where the sweep has one row it has no row axes, and the label is empty. A run is
    there whatever became of it; it is None for a combination that the sweep does not have. Runs that are
    no grid are `in_order`, one after the other.
    """

    title: str
    subtitle: str
    row_axes: list[str]
    rows: list[tuple[str, ...]]
    column_axes: list[str]
    columns: list[tuple[str, ...]]
    runs: list[list[Run | None]]
    axes: list[Axis]
    said: Description
    in_order: bool = False

    @property
    def count(self) -> int:
        """How many runs there are."""
        return sum(run is not None for row in self.runs for run in row)

    @property
    def row_axis(self) -> str:
        """The names of the row axes as one line."""
        return ", ".join(self.row_axes)

    @property
    def column_axis(self) -> str:
        """The names of the column axes as one line."""
        return ", ".join(self.column_axes)

    @property
    def row_labels(self) -> list[str]:
        """A label for each row."""
        return [_join_labels(row) for row in self.rows]

    @property
    def column_labels(self) -> list[str]:
        """A label for each column."""
        return [_join_labels(column) for column in self.columns]


@dataclass(frozen=True)
class Inputs:
    """Which content and style images a grid is about, and whether they vary by its rows or columns."""

    kinds: list[str]
    vary: str  # "shared", "rows", "columns", or "cells": by both

    @classmethod
    def of(cls, runs: list[list[Run | None]]) -> "Inputs":
        """Those of the runs of a grid."""
        every = [run for row in runs for run in row if run]
        used = {str(run.value("init_image.name")) for run in every}
        used |= {kind for run in every for kind in LAYERS_OF.get(str(run.value("mode")), ())}

        def alike(group: Iterable[Run | None]) -> bool:
            return len({_pictures(run) for run in group if run and run.config}) <= 1

        if alike(every):
            vary = "shared"
        elif all(map(alike, runs)):
            vary = "rows"
        else:
            vary = "columns" if all(map(alike, zip(*runs, strict=True))) else "cells"
        return cls([kind for kind in ("content", "style") if kind in used], vary)

    def file(self, kind: str, runs: Iterable[Run | None]) -> Path:
        """The image file of the first of some runs that has it, or where it should have been."""
        paths = [run.folder / f"{kind}.png" for run in runs if run]
        return next((path for path in paths if path.is_file()), paths[0])


def _pictures(run: Run) -> str:
    """What says which images a run has; the weights of styles do not."""
    images = run.value("images")
    if not isinstance(images, DictConfig):
        return str(images)
    # Unresolved: what an interpolation means is known in Hydra alone.
    said: Any = OmegaConf.to_container(images)
    return str({key: value for key, value in said.items() if key != "style_weights"})


def grid(sweep_dir: Path) -> Grid:
    """Lay the runs of a sweep directory out as a grid.

    The axes are the overrides that vary across the runs, in the order they were given: the last is the
    columns, the one before it the rows, in every combination that occurs. Of more than two the first go
    to the rows and the others to the columns, so that the grid is neither very high nor very wide. Of runs
    with the same overrides the first finished one is shown. If nothing varies the one column is labelled
    with the layers that its mode uses.

    Raises:
        NstError: `sweep_dir` does not exist or has no runs.
    """
    if not sweep_dir.is_dir():
        raise NstError(f"{sweep_dir}: no such folder; give the folder of a sweep")
    runs = [read_run(path) for path in run_folders(sweep_dir)]
    runs = [run for run in runs if run.overrides or not run.record.blank]
    if not runs:
        raise NstError(f"{sweep_dir}: no runs in it; give the folder of a sweep, which holds run directories")
    keys = _unique(key for run in runs for key in run.overrides)
    values = {key: [run.overrides.get(key, DEFAULT) for run in runs] for key in keys}
    axes = [Axis.of(key, found) for key, found in values.items() if len(set(found)) > 1 and key not in SAID]
    sweep = SweepRecord.read(sweep_dir, lenient=True)
    title = sweep.name or sweep_dir.resolve().name
    return _in_order(title, runs, axes, sweep.per_row) if sweep.per_row else _laid_out(title, runs, axes)


def grid_of_run(run_dir: Path) -> Grid:
    """The grid of one cell that a run directory is."""
    run = read_run(run_dir)
    return _laid_out(run.title, [run], [])


def _laid_out(title: str, runs: list[Run], axes: list[Axis]) -> Grid:
    """Runs by their place on the axes."""
    found: dict[tuple[int, ...], Run] = {}
    for run in runs:
        place = tuple(axis.values.index(run.overrides.get(axis.key, DEFAULT)) for axis in axes)
        earlier = found.get(place)
        if earlier is None or (run.record.finished and not earlier.record.finished):
            found[place] = run
    down = _split(list(found), len(axes))
    rows = sorted({place[:down] for place in found})
    columns = sorted({place[down:] for place in found})

    def labels(place: tuple[int, ...], axes: list[Axis]) -> tuple[str, ...]:
        return tuple(axis.labels[index] for index, axis in zip(place, axes, strict=True)) or ("",)

    column_axes = [axis.name for axis in axes[down:]]
    column_labels = [labels(column, axes[down:]) for column in columns]
    if not axes:
        axis, label = _layers_of(runs[0])
        column_axes, column_labels = [axis], [(label,)]
    return Grid(
        title=title,
        subtitle=_shared_parameters(runs, [axis.key for axis in axes]),
        row_axes=[axis.name for axis in axes[:down]],
        rows=[labels(row, axes[:down]) for row in rows],
        column_axes=column_axes,
        columns=column_labels,
        runs=[[found.get(row + column) for column in columns] for row in rows],
        axes=axes,
        said=Description.of(runs),
    )


def _split(places: list[tuple[int, ...]], axes: int) -> int:
    """How many of the axes are for the rows: such that few places are empty, and the grid is rather wide."""

    def size(down: int) -> tuple[int, float]:
        rows = len({place[:down] for place in places})
        columns = len({place[down:] for place in places})
        return rows * columns, abs(math.log(columns / rows / 1.5))

    return min(range(1, axes), key=size) if axes > 2 else max(axes - 1, 0)


def _in_order(title: str, runs: list[Run], axes: list[Axis], per_row: int) -> Grid:
    """Runs that are no grid, because all that varies does so from each to the next: one after the other."""
    padded = [*runs, *[None] * (-len(runs) % per_row)]
    rows = [padded[start : start + per_row] for start in range(0, len(runs), per_row)]
    firsts = [row[0].folder.name for row in rows if row[0]]
    return Grid(
        title=title,
        subtitle=_shared_parameters(runs, [axis.key for axis in axes]),
        row_axes=["from trial"],
        rows=[(first,) for first in firsts],
        column_axes=[],
        columns=[(f"+ {place}",) for place in range(per_row)],
        runs=rows,
        axes=axes,
        said=Description.of(runs),
        in_order=True,
    )


def layers_label(names: Sequence[str]) -> str:
    """Label layers by their seed numbers, if they all have one, and by their names."""
    if not names:
        return "none"
    if any(name not in SEED_LAYERS for name in names):
        return " ".join(names)
    numbers = [str(SEED_LAYERS.index(name)) for name in names]
    if len(names) == 1:
        return f"{numbers[0]} · {names[0]}"
    return f"{{{','.join(numbers)}}}\n{' '.join(names)}"


def _unique(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))


def _layer_names(value: str) -> list[str]:
    names = [name.strip(" '\"") for name in value.strip(" []").split(",")]
    return sorted(name for name in names if name not in ("", "none"))


def _label(key: str, value: str) -> str:
    if key.endswith("_layers"):
        return layers_label(_layer_names(value))
    return as_written(value)


def _without_folders(paths: list[str]) -> list[str]:
    """Files by their names, where those tell them apart."""
    short = [re.sub(r"(^|[,\[])[^,\[\]]*/(?=[^/])", r"\1", path) for path in paths]
    return short if len(set(short)) == len(set(paths)) else paths


def _axis_name(key: str, values: Iterable[str]) -> str:
    # A dotted key is as it is typed: without its underscores it would be neither key nor words.
    name = AXIS_NAMES.get(key, key if "." in key else key.replace("_", " "))
    if key.endswith("_layers") and all(len(_layer_names(value)) == 1 for value in values):
        return name.removesuffix("s")
    return name


def _join_labels(labels: Iterable[str]) -> str:
    """The lines of several labels as one label: first lines together, and so the small print."""
    parts = [label.partition("\n") for label in labels]
    small = "\n".join(tail for _, _, tail in parts if tail)
    head = " · ".join(head for head, _, _ in parts)
    return f"{head}\n{small}" if small else head


def _layers_of(run: Run) -> tuple[str, str]:
    """The column axis of a sweep in which nothing varies, and its label."""
    mode = str(run.value("mode"))
    kinds = ("content",) if mode == "reconstruct" else LAYERS_OF.get(mode, ("content",))
    labels = _unique(layers_label(run.layers(kind)) for kind in kinds)
    many = any(len(run.layers(kind)) != 1 for kind in kinds)
    return " and ".join(kinds) + (" layers" if many else " layer"), _join_labels(labels)


def _shared_parameters(runs: list[Run], varying: list[str]) -> str:
    """One line of the parameters that matter and that all runs have in common."""
    readable = [run for run in runs if run.config]

    def shared(key: str) -> Any:
        values = _unique(str(run.value(key)) for run in readable)
        return readable[0].value(key) if len(values) == 1 else None

    mode = shared("mode")
    kinds = LAYERS_OF.get(str(mode), ())
    facts = [str(mode).replace("_", " ")] if mode else []
    for kind in kinds:
        chosen = _unique(tuple(run.layers(kind)) for run in readable)
        if len(chosen) == 1 and varying and f"{kind}_layers" not in varying:
            noun = f"{kind} layer" if len(chosen[0]) == 1 else f"{kind} layers"
            short = re.split(" · |\n", layers_label(chosen[0]))[0]
            facts.append(f"{noun} {short}")
    for key, before, after in (
        ("optimizer.name", "optimizer ", ""),
        ("optimizer.lr", "learning rate ", ""),
        ("init_image.name", "initial canvas ", ""),
        ("activation", "activation ", ""),
        ("iterations", "", " iterations"),
        ("size", "", " px"),
    ):
        value = shared(key)
        if value is not None:
            facts.append(f"{before}{as_written(str(value))}{after}")
    if shared("model.normalize") is True:
        facts.append("ImageNet's normalisation")
    models = _unique((model.name, model.asked) for run in runs if (model := run.record.model).name)
    if len(models) == 1:
        used, asked = models[0]
        facts.append(f"model {used}" if used == asked else f"model {used} ({asked} asked for)")
    weights = [(kind, shared(f"weights.{kind}")) for kind in (*kinds, "tv") if kinds]
    known = [f"{value:g} {kind}" for kind, value in weights if isinstance(value, int | float)]
    return " · ".join([*facts, f"weights {', '.join(known)}"] if known else facts)
