"""A grid as a section of the page: its canvases, its curves' places, its table of numbers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from nst.report.grid import Grid, Inputs
from nst.report.page.cell import RESULTS, Cell
from nst.report.page.pictures import Pictures
from nst.report.same_loss import to_common_loss
from nst.report.text_layout import NO_BREAK_SPACE
from nst.runs.reader import Run
from nst.runs.record import SweepRecord
from nst.tracking.tracked import TrackedRun, tracked_run

INPUT_SIDE = 256  # pixels at which a content or style image is kept


@dataclass
class Section:
    """One grid of the page. `index` is its number, `first` that of its first cell in the page."""

    folder: Path
    grid: Grid
    index: int
    first: int
    pictures: Pictures
    cells: dict[tuple[int, int], Cell] = field(init=False)

    def __post_init__(self) -> None:
        reached = to_common_loss([run for run in self.runs if run])
        self.cells = {}
        for row, runs in enumerate(self.grid.runs):
            for column, run in enumerate(runs):
                if run:
                    label, number = self._label(row, column), self.first + len(self.cells)
                    cell = Cell(run, number, label, self.pictures, reached.get(run.folder))
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
        return self.sweep.title or self.grid.title

    @property
    def name(self) -> str:
        """Its name, where that is not its title."""
        return self.grid.title if self.sweep.title else ""

    @property
    def facts(self) -> str:
        """What all cells share: broken between facts only, and with no separator at the head of a line."""
        return self.grid.subtitle.replace(" ", NO_BREAK_SPACE).replace(f"·{NO_BREAK_SPACE}", "· ")

    @property
    def count(self) -> str:
        """How many cells there are, and what became of them."""
        states = [cell.state[0] for cell in self.cells.values()]
        text = f"{len(states)} canvas{'es' if len(states) != 1 else ''}"
        others = {state: states.count(state) for state in states if state != "finished"}
        return ", ".join([text, *(f"{number} {state}" for state, number in others.items())])

    def _label(self, row: int, column: int) -> str:
        labels = (self.grid.row_labels[row], self.grid.column_labels[column])
        return " · ".join(label.partition("\n")[0] for label in labels if label)
