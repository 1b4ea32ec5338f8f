"""A grid as a section of the page: its canvases, its curves' places, its table of numbers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from xml.etree.ElementTree import Element

from nst.report.grid import Grid, Inputs
from nst.report.page.cell import RESULTS, Cell, moment, number
from nst.report.page.markup import element
from nst.report.page.pictures import Pictures
from nst.report.same_loss import to_common_loss
from nst.report.text_layout import NO_BREAK_SPACE
from nst.runs.reader import Run
from nst.runs.record import SweepRecord
from nst.tracking.tracked import tracked_run

FEW = 3  # columns: so few canvases are shown larger
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
        reached = to_common_loss([run for runs in self.grid.runs for run in runs if run])
        self.cells = {
            (row, column): Cell(run, self._label(row, column), self.pictures, reached.get(run.folder))
            for row, runs in enumerate(self.grid.runs)
            for column, run in enumerate(runs)
            if run
        }
        self._numbers = {place: self.first + n for n, place in enumerate(self.cells)}

    @cached_property
    def varying(self) -> list[str]:
        """The parameters in which its cells differ."""
        read = [found for cell in self.cells.values() if (found := cell.run.parameters())]
        keys = dict.fromkeys(key for parameters in read for key in parameters)
        return [key for key in keys if len({parameters.get(key) for parameters in read}) > 1]

    @cached_property
    def inputs(self) -> Inputs:
        """The content and style images it is about."""
        return Inputs.of(self.grid.runs)

    def pairs(self, cell: Cell) -> list[tuple[str, str]]:
        """The images of a cell: which one it is, and the id of the element that has it."""
        found = (
            (kind, self.pictures.read(cell.run.folder / f"{kind}.png", INPUT_SIDE))
            for kind in self.inputs.kinds
        )
        return [(kind, self.pictures.name(uri)) for kind, uri in found if uri]

    @property
    def heading(self) -> tuple[str, str]:
        """Its title, and its name where that is another."""
        title = SweepRecord.read(self.folder, lenient=True).title
        return (title, self.grid.title) if title else (self.grid.title, "")

    def count(self) -> str:
        """How many cells there are, and what became of them."""
        states = [cell.state[0] for cell in self.cells.values()]
        text = f"{len(states)} canvas{'es' if len(states) != 1 else ''}"
        others = {state: states.count(state) for state in states if state != "finished"}
        return ", ".join([text, *(f"{number} {state}" for state, number in others.items())])

    def html(self, level: int) -> Element:
        """The section, under a heading of a level."""
        title, name = self.heading
        inputs = self.inputs
        every = [run for row in self.grid.runs for run in row]
        shared = inputs.kinds if inputs.vary == "shared" else []
        # Broken between facts only, and with no separator at the head of a line.
        facts = self.grid.subtitle.replace(" ", NO_BREAK_SPACE).replace(f"·{NO_BREAK_SPACE}", "· ")
        words = element(
            "div",
            element(f"h{level}", title),
            element("p", name and element("code", name), class_="name") if name else None,
            element("p", facts, class_="facts"),
            element("p", self.count() + started(self.folder), class_="facts"),
        )
        images = [element("figure", self._input(kind, every), element("figcaption", kind)) for kind in shared]
        return element(
            "section",
            element("header", words, element("div", *images, class_="inputs") if images else None),
            element("div", self._canvases(title), class_="scroll"),
            element("div", *self._charts(), class_="charts"),
            element("div", self._table(title), class_="scroll"),
            reproduce(self.folder),
            id=f"grid-{self.index}",
            class_="grid",
        )

    def _label(self, row: int, column: int) -> str:
        labels = (self.grid.row_labels[row], self.grid.column_labels[column])
        return " · ".join(label.partition("\n")[0] for label in labels if label)

    def _input(self, kind: str, runs: Iterable[Run | None]) -> Element:
        uri = self.pictures.read(self.inputs.file(kind, runs), INPUT_SIDE)
        return self.pictures.show(uri, f"{kind} image") if uri else element("span", "missing", class_="none")

    def _canvases(self, title: str) -> Element:
        grid, inputs = self.grid, self.inputs
        named = any(grid.row_labels)
        beside = inputs.kinds if inputs.vary == "rows" else []
        above = inputs.kinds if inputs.vary == "columns" else []
        corner = [element("th", grid.row_axis, rowspan="2", scope="col")] if named or above else []
        corner += [element("th", kind, rowspan="2", scope="col", class_="image") for kind in beside]
        across = str(len(grid.column_labels))
        axis = element("tr", *corner, element("th", grid.column_axis, colspan=across, scope="colgroup"))
        heads = element("tr", *(_head(label, "col") for label in grid.column_labels))
        rows = []
        for kind in above:
            columns = zip(*grid.runs, strict=True)
            shown = (self._input(kind, column) for column in columns)
            rows.append(element("tr", element("th", kind, scope="row"), *(element("td", s) for s in shown)))
        for row, runs in enumerate(grid.runs):
            head = [_head(grid.row_labels[row], "row")] if named or above else []
            head += [element("td", self._input(kind, runs), class_="image") for kind in beside]
            rows.append(element("tr", *head, *(self._place(row, column) for column in range(len(runs)))))
        caption = element("caption", f"Canvases: {title}", class_="unseen")
        thead, tbody = element("thead", axis, heads), element("tbody", *rows)
        return element(
            "table",
            caption,
            thead,
            tbody,
            class_="canvases few" if len(grid.column_labels) <= FEW else "canvases",
        )

    def _place(self, row: int, column: int) -> Element:
        cell = self.cells.get((row, column))
        if cell is None:
            return element("td", element("span", "not in this sweep", class_="none"))
        state, reason = cell.state
        note: str | None = None
        if cell.canvas:
            what: list[Element] = [self.pictures.show(cell.canvas, f"canvas of {cell.label}")]
            taken = cell.run.record.taken_from
            note = f"taken from {'/'.join(taken.parts[-3:])}" if taken else None
            if state == "diverged":
                note = f"diverged at iteration {cell.run.record.diverged_at}"
        else:
            what = [element("strong", state), element("span", reason)]
        button = element(
            "button",
            *what,
            type="button",
            class_="canvas pixels" if cell.small else "canvas",
            data_cell=str(self._numbers[row, column]),
            title=None if cell.canvas else reason or state,
        )
        return element("td", button, element("small", note, title=reason) if note else None)

    def _charts(self) -> list[Element]:
        """A figure for the curves of each row, which the script draws."""
        return [
            element(
                "figure",
                element("figcaption", element("span"), f" · {head}" if head else None, element("output")),
                class_="chart",
                data_grid=str(self.index),
                data_row=str(row),
                hidden="",
            )
            for row, label in enumerate(self.grid.row_labels)
            for head in [label.partition("\n")[0]]
        ]

    @cached_property
    def results(self) -> list[str]:
        """The numbers that any of its cells has."""
        return [key for key in RESULTS if any(key in cell.results for cell in self.cells.values())]

    def _table(self, title: str) -> Element:
        tracked = {place: tracked_run(cell.run.folder) for place, cell in self.cells.items()}
        heads = [_sorter(word) for word in ("cell", "state", *self.varying)]
        heads += [_sorter(*RESULTS[key], class_="number") for key in self.results]
        heads += [_sorter("MLflow run")] if any(tracked.values()) else []
        rows = []
        for place, cell in self.cells.items():
            parameters = cell.run.parameters()
            state, reason = cell.state
            values = [element("td", parameters.get(key)) for key in self.varying]
            for key in self.results:
                value = cell.results.get(key)
                shown = None if value is None else number(value)
                values.append(
                    element("td", shown, data_value=None if value is None else repr(value), class_="number")
                )
            run = tracked[place]
            if run and run.address:
                link = element("a", run.run_id, href=run.address, target="_blank", rel="noreferrer")
                values.append(element("td", link))
            elif any(tracked.values()):
                values.append(element("td", element("code", run.run_id) if run else None))
            rows.append(
                element(
                    "tr",
                    element("th", cell.label, scope="row"),
                    element("td", f"{state}: {reason}" if reason else state, class_="state"),
                    *values,
                    data_cell=str(self._numbers[place]),
                )
            )
        caption = element("caption", f"Numbers: {title}", class_="unseen")
        return element(
            "table",
            caption,
            element("thead", element("tr", *heads)),
            element("tbody", *rows),
            class_="numbers",
        )


def reproduce(folder: Path) -> Element | None:
    """The command that paints a sweep again, and where MLflow has it."""
    command = SweepRecord.read(folder, lenient=True).command
    run = tracked_run(folder)
    link = None
    if run and run.address:
        link = element("a", "Sweep in MLflow", href=run.address, target="_blank", rel="noreferrer")
    if not command and not link:
        return None
    return element("div", code(command) if command else None, link, class_="again")


def started(folder: Path) -> str:
    """When a sweep was begun, as the end of a line; empty if it is not known."""
    found = moment(SweepRecord.read(folder, lenient=True).started)
    return f" · started {found}" if found else ""


def code(command: str) -> Element:
    """A command that can be copied."""
    button = element("button", "Copy", type="button", class_="copy")
    return element("div", element("pre", element("code", command)), button, class_="command")


def _sorter(name: str, note: str | None = None, class_: str | None = None) -> Element:
    button = element("button", name, type="button", title=note)
    return element("th", button, scope="col", aria_sort="none", class_=class_)


def _head(label: str, scope: str) -> Element:
    head, _, small_print = label.partition("\n")
    return element("th", head, element("small", small_print) if small_print else None, scope=scope)
