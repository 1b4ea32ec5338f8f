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

from nst.errors import NstError
from nst.runs.reader import Run, read_run
from nst.runs.record import SweepRecord
from nst.runs.sweep import run_folders

T = TypeVar("T")

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


@dataclass(frozen=True)
class Grid:
    """The runs of a sweep by what they varied.

    A label is one line, or a line and the small print under it, separated by a newline. Where the
    sweep has one row the row axis and its label are empty. A run is there whatever became of it;
    it is None for a combination that the sweep does not have.
    """

    title: str
    subtitle: str
    row_axis: str
    row_labels: list[str]
    column_axis: str
    column_labels: list[str]
    runs: list[list[Run | None]]

    @property
    def count(self) -> int:
        """How many runs there are."""
        return sum(run is not None for row in self.runs for run in row)


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
            return len({str(run.value("images")) for run in group if run and run.config}) <= 1

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


def grid(sweep_dir: Path) -> Grid:
    """Lay the runs of a sweep directory out as a grid.

    The axes are the overrides that vary across the runs, in the order they were given: the last is
    the columns, those before it are the rows, in every combination that occurs. Of runs with the
    same overrides the first finished one is shown. If nothing varies the one column is labelled
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
    varying = [key for key in keys if len({run.overrides.get(key) for run in runs}) > 1]
    sweep = SweepRecord.read(sweep_dir, lenient=True)
    title = sweep.name or sweep_dir.resolve().name
    if sweep.per_row:
        return _in_order(title, runs, varying, sweep.per_row)
    *row_keys, column_key = varying or [""]

    def place(run: Run) -> tuple[tuple[str, ...], str]:
        values = [run.overrides.get(key, "default") for key in (*row_keys, column_key)]
        return tuple(values[:-1]), values[-1]

    found: dict[tuple[tuple[str, ...], str], Run] = {}
    for run in runs:
        earlier = found.get(place(run))
        if earlier is None or (run.record.finished and not earlier.record.finished):
            found[place(run)] = run
    rows = _unique(row for row, _ in map(place, runs))
    columns = _unique(column for _, column in map(place, runs))
    shown = [[found.get((row, column)) for column in columns] for row in rows]

    if varying:
        column_axis = _axis_name(column_key, columns)
        column_labels = [_label(column_key, column) for column in columns]
    else:
        column_axis, column_labels = _layers_of(runs[0])
    by_key = zip(row_keys, zip(*rows, strict=True), strict=True)
    return Grid(
        title=title,
        subtitle=_shared_parameters(runs, varying),
        row_axis=", ".join(_axis_name(key, values) for key, values in by_key),
        row_labels=[_join_labels(map(_label, row_keys, row)) for row in rows],
        column_axis=column_axis,
        column_labels=column_labels,
        runs=shown,
    )


def _in_order(title: str, runs: list[Run], varying: list[str], per_row: int) -> Grid:
    """Runs that are no grid, because all that varies does so from each to the next: one after the other."""
    padded = [*runs, *[None] * (-len(runs) % per_row)]
    rows = [padded[start : start + per_row] for start in range(0, len(runs), per_row)]
    firsts = [row[0].folder.name for row in rows if row[0]]
    return Grid(
        title=title,
        subtitle=_shared_parameters(runs, varying),
        row_axis="from trial",
        row_labels=firsts,
        column_axis="",
        column_labels=[f"+ {place}" for place in range(per_row)],
        runs=rows,
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
    return _number_label(value) or " ".join(value.split())


def _number_label(value: str) -> str | None:
    """A large or small number as people write it: 1e6 for Hydra's 1000000.0; None for anything else."""
    try:
        number = float(value)
    except ValueError:
        return None
    if number == 0 or 1e-3 <= abs(number) < 1e5 or not math.isfinite(number):
        return None
    mantissa, _, exponent = f"{number:e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _axis_name(key: str, values: Iterable[str]) -> str:
    name = AXIS_NAMES.get(key, key.replace("_", " "))
    if key.endswith("_layers") and all(len(_layer_names(value)) == 1 for value in values):
        return name.removesuffix("s")
    return name


def _join_labels(labels: Iterable[str]) -> str:
    """The lines of several labels as one label: first lines together, and so the small print."""
    parts = [label.partition("\n") for label in labels]
    small = "\n".join(tail for _, _, tail in parts if tail)
    head = " · ".join(head for head, _, _ in parts)
    return f"{head}\n{small}" if small else head


def _layers_of(run: Run) -> tuple[str, list[str]]:
    """The column axis of a sweep in which nothing varies, and its label."""
    mode = str(run.value("mode"))
    kinds = ("content",) if mode == "reconstruct" else LAYERS_OF.get(mode, ("content",))
    labels = _unique(layers_label(run.layers(kind)) for kind in kinds)
    many = any(len(run.layers(kind)) != 1 for kind in kinds)
    axis = " and ".join(kinds) + (" layers" if many else " layer")
    return axis, [_join_labels(labels)]


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
            facts.append(f"{before}{value}{after}")
    models = _unique((model.name, model.asked) for run in runs if (model := run.record.model).name)
    if len(models) == 1:
        used, asked = models[0]
        facts.append(f"model {used}" if used == asked else f"model {used} ({asked} asked for)")
    weights = [(kind, shared(f"weights.{kind}")) for kind in (*kinds, "tv") if kinds]
    known = [f"{value:g} {kind}" for kind, value in weights if isinstance(value, int | float)]
    return " · ".join([*facts, f"weights {', '.join(known)}"] if known else facts)
