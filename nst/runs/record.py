"""`run.json` and `sweep.json` as records: all that reads and writes them, and checks the files."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from nst.io.canvas_format import FILES, CanvasFormat
from nst.io.files import format_error, is_regular, open_regular, sha256_of
from nst.io.video import count_frames
from nst.runs.json_record import (
    Record,
    RecordFile,
    as_count,
    as_flag,
    as_list,
    as_moment,
    as_number,
    as_numbers,
    as_path,
    as_record,
    as_table,
    as_text,
    json_key,
    require,
)

# What a run paints: always, and what only some runs have, or can do without.
REQUIRED_FILES = ("canvas.png", "canvas.mp4", "losses.csv", "content.png", "style.png")
OUTPUT_FILES = (
    *REQUIRED_FILES,
    *("losses.png", "init.png", "canvas.jpg", "canvas.tif", "canvas.webp", "film.mp4", "film.gif"),
)
MOST_CELLS = 1_000_000


class Status(StrEnum):
    """What became of a run."""

    RUNNING = "running"  # also of a run whose process was killed
    FINISHED = "finished"
    FAILED = "failed"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"
    MISSING = "missing"  # there is no record, or none that can be used; never written

    @property
    def label(self) -> str:
        """The word for people."""
        return "unfinished" if self in (Status.RUNNING, Status.INTERRUPTED) else self.value

    @property
    def mlflow(self) -> str:
        """MLflow's status; a run that is still "running" when it is looked at was killed."""
        return {"finished": "FINISHED", "failed": "FAILED", "diverged": "FAILED"}.get(self.value, "KILLED")


@dataclass(frozen=True)
class FileInfo:
    """The size and the hash of a file."""

    bytes: int
    sha256: str


def _status(value: Any) -> Status:
    require(value != Status.MISSING)
    return Status(value)


def _frames(value: Any) -> list[int]:
    frames = [as_count(frame) for frame in as_list(value)]
    require(frames == sorted(set(frames)))
    return frames


def _scales(value: Any) -> dict[str, int]:
    return {size: as_count(count) for size, count in as_table(value).items() if as_count(int(size))}


def _files(value: Any) -> dict[str, FileInfo]:
    require(set(REQUIRED_FILES) <= set(as_table(value)) <= set(OUTPUT_FILES))
    return {
        name: FileInfo(as_count(known["bytes"]), as_text(known["sha256"])) for name, known in value.items()
    }


def _cells(value: Any) -> int:
    require(as_count(value) <= MOST_CELLS)
    return int(value)


def _folders(value: Any) -> list[str]:
    for name in as_list(value):
        require(
            bool(as_text(name)) and not PurePosixPath(name).is_absolute() and ".." not in Path(name).parts
        )
    return list(value)


@dataclass(frozen=True, kw_only=True)
class Model(Record):
    """The network of a run and the one `asked` for; the hash of its `weights`, and their `source`."""

    name: str | None = json_key(as_text)
    asked: str | None = json_key(as_text)
    weights: str | None = json_key(as_text)
    source: str | None = json_key(as_text)


@dataclass(frozen=True, kw_only=True)
class Machine(Record):
    """What decides the rounding of a CPU: its vector `instructions` and PyTorch's number of `threads`."""

    instructions: str | None = json_key(as_text)
    threads: int | None = json_key(as_count)


@dataclass(frozen=True, kw_only=True)
class RunRecord(RecordFile):
    """`run.json`: what a run is, and how it ended.

    Attributes:
        name: what people call it.
        device, precision, lr, fps: as they were used.
        error: why it is not finished, in one line.
        started, ended: ISO 8601 with a time zone.
        identity: a hash of all that decides its canvas.
        frames: the iteration that each frame of its video shows.
        scales: the sizes of its canvas, in pixels, with the iterations at each; none if it had one size.
        final: its last losses, the weighted total and the unweighted terms.
        files: what it has painted.
        timings: in seconds, but for a few whose names say otherwise.
        diverged_at: the iteration.
        taken_from: the folder in which it was painted, if that is another.
    """

    NAME = "run.json"
    NEEDED = ("status", "started", "name")

    name: str | None = json_key(as_text)
    device: str | None = json_key(as_text, null=True)
    precision: str | None = json_key(as_text)
    lr: float | None = json_key(as_number)
    fps: int | None = json_key(as_count)
    versions: Mapping[str, str] = json_key(as_table, dict)
    machine: Machine = json_key(as_record(Machine), Machine)
    git: str | None = json_key(as_text, null=True)
    status: Status = json_key(_status, Status.MISSING)
    error: str | None = json_key(as_text, null=True)
    started: str = json_key(as_moment, "")
    ended: str | None = json_key(as_moment, null=True)
    identity: str = json_key(as_text, "")
    model: Model = json_key(as_record(Model), Model)
    frames: list[int] = json_key(_frames, list)
    scales: Mapping[str, int] = json_key(_scales, dict)
    final: Mapping[str, float] = json_key(as_numbers, dict)
    files: Mapping[str, FileInfo] = json_key(_files, dict)
    timings: Mapping[str, float] = json_key(as_numbers, dict)
    scores: Mapping[str, float] = json_key(as_numbers, dict, null=True)
    diverged_at: int | None = json_key(as_count)
    taken_from: Path | None = json_key(as_path)
    traceback: list[str] = json_key(as_list, list)

    @property
    def finished(self) -> bool:
        """Whether its canvas was painted to the end."""
        return self.status is Status.FINISHED

    @property
    def takeable(self) -> bool:
        """Whether another sweep can take it, if its files are as it says: see `find_damage`."""
        return self.finished and bool(self.identity)

    def takeable_as(self, wanted: CanvasFormat) -> bool:
        """Whether a cell that wants this format can take it: 16 bits are not in the 8 of `canvas.png`."""
        return self.takeable and (wanted is not CanvasFormat.tiff16 or FILES[wanted] in self.files)

    @property
    def has_canvas(self) -> bool:
        """Whether a canvas is worth showing: the final one, or the last finite one."""
        return self.status in (Status.FINISHED, Status.DIVERGED)

    @property
    def total(self) -> float:
        """The final total loss; NaN if it is not finished."""
        return self.final.get("total", math.nan) if self.finished else math.nan

    @property
    def gflops(self) -> float | None:
        """GFLOP a second of its batch, if known."""
        return self.timings.get("gflops")

    @property
    def batch_cells(self) -> int:
        """The rows of the batch it was painted in."""
        return int(self.timings.get("batch_cells", 1))

    def why_no_canvas(self, folder: str) -> tuple[str, str]:
        """Why the canvas of a run directory of that name cannot be shown: a word, and what else is known."""
        if self.finished:
            return Status.MISSING.label, f"{folder}/canvas.png"
        if self.status is Status.MISSING:
            return self.status.label, f"{folder}/run.json"
        return self.status.label, (self.error or "") if self.status.label == self.status else ""

    def _lacks(self) -> str | None:
        if not self.finished:
            return None
        lacking = [key for key in ("started", "frames", "final") if not getattr(self, key)]
        return next(iter(lacking), None if math.isfinite(self.total) else "final")


@dataclass(frozen=True, kw_only=True)
class SweepRecord(RecordFile):
    """`sweep.json`: what a sweep is.

    Attributes:
        name, title: of its preset.
        command: which paints it.
        started, ended: ISO 8601 with a time zone.
        interrupted: whether it broke off.
        grids: the folders of the sweeps in it, if it is a sweep of sweeps.
        cells: the number of its run directories.
        folders: their names, if these are not their numbers.
        per_row: how many to show in a row, if it is no grid.
    """

    NAME = "sweep.json"
    NEEDED = ("started", "command", "name")

    name: str = json_key(as_text, "")
    title: str | None = json_key(as_text, null=True)
    command: str = json_key(as_text, "")
    started: str = json_key(as_moment, "")
    ended: str | None = json_key(as_moment, null=True)
    grids: list[str] | None = json_key(_folders)
    cells: int | None = json_key(_cells)
    folders: list[str] | None = json_key(_folders)
    per_row: int | None = json_key(as_count)
    interrupted: bool | None = json_key(as_flag)


def now() -> str:
    """This moment, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat()


def describe_files(folder: Path) -> dict[str, FileInfo]:
    """The size and the hash of each file of a run that was painted, as its record keeps them."""
    paths = [folder / name for name in OUTPUT_FILES if name in REQUIRED_FILES or is_regular(folder / name)]
    return {path.name: FileInfo(path.stat().st_size, sha256_of(path)) for path in paths}


def find_damage(folder: Path, record: RunRecord) -> str | None:
    """What is wrong with the files of a finished run, in a line that names one of them; None if all are well.

    They are held against the sizes and hashes in its record. A run of a version that kept none is whole
    if its files can be decoded, and hold as many frames and losses as the record tells of.
    """
    files, path = record.files, folder
    try:
        for name in files or REQUIRED_FILES:
            path = folder / name
            with open_regular(path) as file:
                size = file.seek(0, os.SEEK_END)
            if files and size != files[name].bytes:
                return f"{path}: {size:,} bytes, where run.json tells of {files[name].bytes:,}"
        for name in files:
            path = folder / name
            if sha256_of(path) != files[name].sha256:
                return f"{path}: not the file that run.json tells of"
        return None if files else _undecodable(folder, record.frames)
    except OSError as error:
        return format_error(error, path)


def _undecodable(folder: Path, frames: list[int]) -> str | None:
    """Which file of a run of an older version cannot be what it was."""
    sizes = set()
    for name in ("content.png", "style.png", "canvas.png"):
        with open_regular(folder / name) as file:
            try:
                with Image.open(file, formats=["PNG"]) as image:
                    image.load()
                    sizes.add(image.size)
            except Exception as error:  # Pillow raises whatever the damage makes it trip over
                return f"{folder / name}: {' '.join(str(error).split()) or type(error).__name__}"
            if len(sizes) > 1:
                return f"{folder / name}: of another size than the other images"
    with open_regular(folder / "losses.csv") as file:
        lines = sum(1 for _ in file)
    if lines != frames[-1] + 2:
        return f"{folder / 'losses.csv'}: {lines} lines, where run.json tells of {frames[-1] + 1} iterations"
    found = count_frames(folder / "canvas.mp4")
    if found != len(frames):
        return f"{folder / 'canvas.mp4'}: {found} frames, where run.json names {len(frames)}"
    return None
