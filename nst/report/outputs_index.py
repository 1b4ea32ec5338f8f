"""The page of all outputs: every sweep and every single run below a folder, to be looked at and searched."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from nst.errors import NstError
from nst.io.files import atomic_write, format_error, open_text
from nst.report.page import read_part, render
from nst.runs.description import Description
from nst.runs.reader import read_run
from nst.runs.record import RunRecord, Status, SweepRecord
from nst.runs.sweep import run_folders

log = logging.getLogger(__name__)

NAME = "index.html"
OURS = '<meta name="generator" content="nst outputs">'  # in each that was written here
PICTURES = ("sheet.png", "canvas.png")


@dataclass(frozen=True)
class Entry:
    """A sweep, a sweep of sweeps or a run, as the page lists it. `place` is its folder from the page's."""

    place: str
    kind: str
    title: str
    preset: str
    said: Description
    started: str
    state: str
    picture: str | None

    @property
    def address(self) -> str:
        """Its page."""
        return quote(f"{self.place}/{NAME}")

    @property
    def text(self) -> str:
        """What a search finds it by, in lower case."""
        words = (self.title, self.preset, self.place, self.kind, self.state, self.started, self.said.text)
        return " ".join(words).lower()


def write_index(outputs: Path) -> Path | None:
    """Write `index.html` of all that is below a folder of outputs; return its path.

    None, and nothing is written, where the folder is a sweep or a run itself, or has a page that was not
    written here.

    Raises:
        NstError: `outputs` does not exist.
        OSError: it cannot be written.
    """
    if not outputs.is_dir():
        raise NstError(f"{outputs}: no such folder; give one of outputs")
    path = outputs / NAME
    if _itself(outputs) or not _free(path):
        return None
    entries = sorted(_entries(outputs), key=lambda entry: entry.started, reverse=True)
    style, script = read_part("page.css") + read_part("outputs.css"), read_part("outputs.js")
    title = outputs.resolve().name
    page = render("outputs.html", style, script, ours=OURS, entries=entries, title=title)
    with atomic_write(path) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))
    return path


def is_above(folder: Path) -> bool:
    """Whether there are sweeps or runs below a folder, and it is none itself.

    One with runs in it is a sweep, also where nothing says so.
    """
    among = _itself(folder) or any(folder.glob(f"*/{RunRecord.NAME}"))
    return not among and next(_entries(folder), None) is not None


def _itself(folder: Path) -> bool:
    return any((folder / name).exists() for name in (SweepRecord.NAME, RunRecord.NAME))


def refresh_index(outputs: Path) -> None:
    """The same, where there is such a folder; a failure is a warning, for what was painted is there."""
    try:
        if outputs.is_dir():
            write_index(outputs)
    except (NstError, OSError) as error:
        log.warning("%s", format_error(error, outputs))


def _free(path: Path) -> bool:
    """Whether there is nothing, or a page that was written here."""
    if not os.path.lexists(path):
        return True
    try:
        with open_text(path) as file:
            return OURS in file.read(4096)
    except (OSError, ValueError):
        return False


def _entries(outputs: Path) -> Iterator[Entry]:
    """What is below a folder; the runs of a sweep are not entries of their own."""
    for top, inside, files in os.walk(outputs):
        folder = Path(top)
        if SweepRecord.NAME in files:
            sweep = SweepRecord.read(folder, lenient=True)
            yield _of_sweep(outputs, folder, sweep)
            heads = {Path(name).parts[0] for name in sweep.grids or ()}
            inside[:] = [name for name in inside if name in heads]
        elif RunRecord.NAME in files:
            yield _of_run(outputs, folder)
            inside.clear()
        inside[:] = [name for name in inside if not name.startswith(".")]


def _of_sweep(outputs: Path, folder: Path, sweep: SweepRecord) -> Entry:
    sweeps = [folder] if sweep.grids is None else [folder / name for name in sweep.grids]
    runs = [run for each in sweeps for run in run_folders(each)]
    states = Counter(RunRecord.read(run, lenient=True).status for run in runs)
    said = Description.of([read_run(runs[0])]) if runs else Description()
    return Entry(
        place=folder.relative_to(outputs).as_posix(),
        kind="sweep" if sweep.grids is None else f"{len(sweep.grids)} sweeps",
        title=said.name or sweep.title or sweep.name or folder.name,
        preset=sweep.name,
        said=said,
        started=sweep.started,
        state=_state(sweep, states),
        picture=next(filter(None, (_picture(outputs, each) for each in sweeps)), None),
    )


def _state(sweep: SweepRecord, states: Counter[Status]) -> str:
    """Whether it is over, and what became of its cells."""
    cells, finished = sum(states.values()), states[Status.FINISHED]
    whole = f"{cells} cell{'s' if cells != 1 else ''}"
    counted = whole if finished == cells else f"{finished} of {whole} finished"
    failed = [f"{states[one]} {one}" for one in (Status.FAILED, Status.DIVERGED) if states[one]]
    over = "finished" if sweep.ended and not sweep.interrupted else "interrupted"
    return ", ".join([over if sweep.ended else "unfinished", counted, *failed])


def _of_run(outputs: Path, folder: Path) -> Entry:
    run = read_run(folder)
    said = Description.of([run])
    return Entry(
        place=folder.relative_to(outputs).as_posix(),
        kind="run",
        title=said.name or run.title,
        preset="",
        said=said,
        started=run.record.started,
        state=run.record.status.label,
        picture=_picture(outputs, folder),
    )


def _picture(outputs: Path, folder: Path) -> str | None:
    """The address of its sheet, or of its canvas."""
    there = [folder / name for name in PICTURES if (folder / name).is_file()]
    return quote(there[0].relative_to(outputs).as_posix()) if there else None
