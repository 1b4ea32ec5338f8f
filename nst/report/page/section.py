"""A grid as a section of the page: its canvases, its curves' places, its table of numbers."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nst.io.files import read_json
from nst.report.grid import DEFAULT, Axis, Grid, Inputs
from nst.report.page.cell import RESULTS, Cell
from nst.report.page.pictures import Pictures
from nst.report.same_loss import to_common_loss
from nst.report.text_layout import NO_BREAK_SPACE
from nst.runs.reader import Run
from nst.runs.record import SweepRecord
from nst.runs.verdict_record import VerdictRecord
from nst.tracking.tracked import TrackedRun, tracked_run

MOST_AT_ONCE = 64  # canvases of three keys or more
INPUT_SIDE = 256  # pixels at which a content or style image is kept
CONFIG_OPTIONS = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn")  # Hydra's


@dataclass
class Section:
    """One grid of a page, with others or alone. `index` is its number, `first` that of its first cell.

    `watched` says that it is being painted.
    """

    folder: Path
    grid: Grid
    index: int
    first: int
    pictures: Pictures
    inside: bool  # of a sweep of sweeps
    watched: bool = False
    cells: dict[tuple[int, int], Cell] = field(init=False)

    def __post_init__(self) -> None:
        reached = to_common_loss([run for run in self.runs if run])
        self.cells = {}
        for row, runs in enumerate(self.grid.runs):
            for column, run in enumerate(runs):
                if run:
                    label, number = self._label(run, row, column), self.first + len(self.cells)
                    common = reached.get(run.folder)
                    cell = Cell(run, number, label, self.pictures, common, self.watched)
                    self.cells[row, column] = cell

    @property
    def runs(self) -> list[Run | None]:
        """All places of the grid, row by row."""
        return [run for runs in self.grid.runs for run in runs]

    @property
    def columns(self) -> list[tuple[Run | None, ...]]:
        """The columns of the grid."""
        return list(zip(*self.grid.runs, strict=True))

    @cached_property
    def sweep(self) -> SweepRecord:
        """What it says of itself."""
        return SweepRecord.read(self.folder, lenient=True)

    @cached_property
    def verdict(self) -> VerdictRecord:
        """What became of its claim; blank where it is no study, or was not judged."""
        return VerdictRecord.read(self.folder, lenient=True)

    @property
    def verdict_picture(self) -> str | None:
        """The address of the picture of its verdict."""
        return self.pictures.read(self.folder / "verdict.png", 1600)

    @cached_property
    def tracked(self) -> TrackedRun | None:
        """Where MLflow has it."""
        return tracked_run(self.folder)

    @property
    def any_tracked(self) -> bool:
        """Whether MLflow has any of its cells."""
        return any(cell.tracked for cell in self.cells.values())

    @cached_property
    def varying(self) -> list[str]:
        """The parameters in which its cells differ."""
        read = [cell.parameters for cell in self.cells.values() if cell.parameters]
        keys = dict.fromkeys(key for parameters in read for key in parameters)
        return [key for key in keys if len({parameters.get(key) for parameters in read}) > 1]

    @cached_property
    def results(self) -> list[str]:
        """The numbers that any of its cells has."""
        return [key for key in RESULTS if any(key in cell.results for cell in self.cells.values())]

    @cached_property
    def inputs(self) -> Inputs:
        """The content and style images it is about."""
        return Inputs.of(self.grid.runs)

    def image(self, kind: str, runs: Iterable[Run | None]) -> str | None:
        """The address of the content or style image of some runs; None if there is none."""
        return self.pictures.read(self.inputs.file(kind, runs), INPUT_SIDE)

    def pairs(self, cell: Cell) -> list[tuple[str, str]]:
        """The images of a cell: which one it is, and the id of the element that has it."""
        found = ((kind, self.image(kind, [cell.run])) for kind in self.inputs.kinds)
        return [(kind, self.pictures.name(uri)) for kind, uri in found if uri]

    @property
    def title(self) -> str:
        """What it shows, in words; else its name."""
        return (not self.inside and self.grid.said.name) or self.sweep.title or self.grid.title

    @property
    def name(self) -> str:
        """Its name, where that is not its title."""
        return self.grid.title if self.title != self.grid.title else ""

    @property
    def facts(self) -> str:
        """What all cells share: broken between facts only, and with no separator at the head of a line."""
        return self.grid.subtitle.replace(" ", NO_BREAK_SPACE).replace(f"·{NO_BREAK_SPACE}", "· ")

    @property
    def unfinished(self) -> bool:
        """Whether it is being painted, as far as is known."""
        return bool(self.sweep.started) and not self.sweep.ended

    @property
    def count(self) -> str:
        """How many cells there are, and what became of them."""
        states = [cell.state[0] for cell in self.cells.values()]
        text = f"{len(states)} canvas{'es' if len(states) != 1 else ''}"
        others = {state: states.count(state) for state in states if state != "finished"}
        return ", ".join([text, *(f"{number} {state}" for state, number in others.items())])

    @property
    def share(self) -> float | None:
        """How much of it is painted, up to 1; None if it is not being painted."""
        shares = [cell.share for cell in self.cells.values()]
        return sum(shares) / len(shares) if self.watched and min(shares) < 1 else None

    def place(self, run: Run) -> list[int]:
        """Which value a run has on each axis."""
        return [axis.values.index(run.overrides.get(axis.key, DEFAULT)) for axis in self.grid.axes]

    @cached_property
    def shared(self) -> dict[str, str | None]:
        """The parameters of its cells in their order, with the values that all have in common, or None."""
        first = next((cell.parameters for cell in self.cells.values() if cell.parameters), {})
        keys = dict.fromkeys([*first, *self.varying])
        return {key: None if key in self.varying else first[key] for key in keys}

    @cached_property
    def program(self) -> list[str]:
        """The head of a command that paints one of its cells: the program, and where it looks for configs."""
        return one_cell(self.sweep.command)

    @cached_property
    def goal(self) -> list[str]:
        """What a search minimises: one or two keys of `RESULTS`; empty if it is none."""
        found = read_json(self.folder / "search.json").get("objectives")
        return [key for key in found if key in RESULTS] if isinstance(found, list) else []

    def data(self) -> dict[str, Any]:
        """What the script reads of it."""
        grid = self.grid
        return {
            "title": self.title,
            "axes": [
                {"name": axis.name, "key": axis.key, "labels": axis.labels, "values": _numbers(axis)}
                for axis in grid.axes
            ],
            "places": _places(grid),
            "alone": [grid.column_axis, grid.column_labels[0]],
            "perRow": len(grid.columns) if grid.in_order else 0,
            "goal": self.goal,
            "kinds": self.inputs.kinds,
            "vary": self.inputs.vary,
            "parameters": self.shared,
        }

    def _label(self, run: Run, row: int, column: int) -> str:
        if self.grid.in_order:
            return f"trial {run.folder.name}"
        if len(self.grid.axes) < 2:
            labels = [self.grid.row_labels[row], self.grid.column_labels[column]]
        else:  # a number alone does not say of what
            found = zip(self.grid.axes, self.place(run), strict=True)
            labels = [f"{axis.name} " * axis.numeric + axis.labels[value] for axis, value in found]
        return " · ".join(label.partition("\n")[0] for label in labels if label)


def _places(grid: Grid) -> list[str]:
    """Where each axis is at first: down, across, or a value at a time where all would be too many."""
    down, shown = len(grid.row_axes), grid.count
    places = ["rows"] * down + ["columns"] * (len(grid.axes) - down)
    if grid.in_order or shown <= MOST_AT_ONCE:
        return places
    for index, axis in enumerate(grid.axes[:-2]):
        if shown > MOST_AT_ONCE:
            places[index], shown = "one", shown // len(axis.values)
    if "one" in places:
        places[-2:] = ["rows", "columns"]
    return places


def _numbers(axis: Axis) -> list[float] | None:
    """The values of an axis of numbers."""
    return [float(value) for value in axis.values] if axis.numeric else None


def one_cell(command: str) -> list[str]:
    """The program of a sweep's command, and the options that say where configs are, for one cell."""
    try:
        words = shlex.split(command) or ["python", "run.py"]
    except ValueError:
        words = ["python", "run.py"]
    head = words[:1] if words[0] == "nst" else ["python", "run.py"]
    rest = iter(words[len(head) :])
    for word in rest:
        if word.split("=")[0] in CONFIG_OPTIONS:
            head += [word] if "=" in word else [word, next(rest, "")]
    return head
