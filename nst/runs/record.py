"""What `run.json` and `sweep.json` say: read as far as it can be relied on, and held against the files."""

import math
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from nst.io.files import format_error, is_regular, open_regular, read_json, sha256_of, warn_skipped
from nst.io.video import count_frames

Record = dict[str, Any]

STATUSES = ("running", "finished", "failed", "diverged", "interrupted")
# What a run paints; without the last it can be shown, but not taken.
OUTPUT_FILES = ("canvas.png", "canvas.mp4", "losses.csv", "losses.png", "content.png", "style.png")
REQUIRED_FILES = tuple(name for name in OUTPUT_FILES if name != "losses.png")
MOST_CELLS = 1_000_000


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_moment(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _are_frames(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_count, value)) and value == sorted(set(value))


def _are_files(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(known, dict) and _is_count(known.get("bytes")) and _is_text(known.get("sha256"))
        for known in value.values()
    )


def _are_folders(value: Any) -> bool:
    return isinstance(value, list) and all(
        _is_text(name) and name and not PurePosixPath(name).is_absolute() and ".." not in Path(name).parts
        for name in value
    )


Kinds = Mapping[str, Callable[[Any], bool]]
RUN: Kinds = {
    **dict.fromkeys(("error", "identity", "taken_from", "device", "precision", "git", "name"), _is_text),
    **dict.fromkeys(("started", "ended"), _is_moment),
    **dict.fromkeys(("final", "timings", "scores"), _are_numbers),
    **dict.fromkeys(("model", "versions"), lambda value: isinstance(value, dict)),
    "status": lambda value: value in STATUSES,
    "frames": _are_frames,
    "files": lambda value: _are_files(value) and set(REQUIRED_FILES) <= set(value) <= set(OUTPUT_FILES),
}
SWEEP: Kinds = {
    **dict.fromkeys(("name", "title", "command"), _is_text),
    **dict.fromkeys(("started", "ended"), _is_moment),
    "cells": lambda value: _is_count(value) and value <= MOST_CELLS,
    "grids": _are_folders,
    "folders": _are_folders,
}


def invalid_key(record: Record, kinds: Kinds) -> str | None:
    """Which key of a record does not hold what it is to hold; None if all do."""
    wrong = [key for key, fits in kinds.items() if record.get(key) is not None and not fits(record[key])]
    if not wrong and kinds is RUN and record.get("status") == "finished":
        wrong = [key for key in ("started", "frames", "final") if not record.get(key)]
        if not wrong and not math.isfinite(record["final"].get("total", math.nan)):
            wrong = ["final"]
    return wrong[0] if wrong else None


def run_record(folder: Path) -> Record:
    """The `run.json` of a folder; empty if there is none, and, with one warning, if it will not do."""
    return _checked(folder / "run.json", RUN)


def sweep_record(folder: Path) -> Record:
    """The same of its `sweep.json`."""
    return _checked(folder / "sweep.json", SWEEP)


def _checked(path: Path, kinds: Kinds) -> Record:
    record = read_json(path)
    if key := invalid_key(record, kinds):
        warn_skipped(path, f"what it has for {key} is wrong")
        return {}
    return record


def is_finished(record: Record) -> bool:
    """Whether a record is that of a run that can be taken, if its files are as it says."""
    return record.get("status") == "finished" and bool(record.get("identity"))


def now() -> str:
    """This moment, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat()


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The size and the hash of each file of a run that was painted, as its record keeps them."""
    paths = [folder / name for name in OUTPUT_FILES if name in REQUIRED_FILES or is_regular(folder / name)]
    return {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in paths}


def find_damage(folder: Path, record: Record) -> str | None:
    """What is wrong with the files of a finished run, in a line that names one of them; None if all are well.

    They are held against the sizes and hashes in its record. A run of a version that kept none is whole
    if its files can be decoded, and hold as many frames and losses as the record tells of.
    """
    files = record.get("files") or {}
    path = folder
    try:
        for name in files or REQUIRED_FILES:
            path = folder / name
            with open_regular(path) as file:
                size = file.seek(0, os.SEEK_END)
            if files and size != files[name]["bytes"]:
                return f"{path}: {size:,} bytes, where run.json tells of {files[name]['bytes']:,}"
        for name in files:
            path = folder / name
            if sha256_of(path) != files[name]["sha256"]:
                return f"{path}: not the file that run.json tells of"
        return None if files else _undecodable(folder, record["frames"])
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
