"""Finished runs on disk: found by their identity, and taken into another sweep."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from nst.files import read_json, write_json, write_whole

# What a finished run has, and may have lost since.
FILES = ("canvas.png", "canvas.mp4", "losses.csv", "content.png", "style.png")
# What belongs to a run directory, not to what was painted in it.
OWN = ("run.json", "mlflow.json")


class Archive:
    """The finished runs below some folders, as `run.json` tells of them."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Read every `run.json` below `folders`, of which some may not exist."""
        self._records: dict[Path, dict[str, Any]] = {}
        self._folders: dict[str, Path] = {}
        for folder in dict.fromkeys(folder.resolve() for folder in folders):
            for path in folder.rglob("run.json"):
                record = read_json(path)
                if record.get("status") == "finished" and "identity" in record:
                    self._records[path.parent] = record
                    self._folders.setdefault(record["identity"], path.parent)

    def find(self, identity: str, at: Path) -> Path | None:
        """The folder of a run with that identity that has all its files: `at`, if it is one of them."""
        if self._records.get(at, {}).get("identity") == identity and _whole(at):
            return at
        folder = self._folders.get(identity)
        if folder is None or _whole(folder):
            return folder
        others = (other for other, record in self._records.items() if record["identity"] == identity)
        return next(filter(_whole, others), None)

    def speed(self, device: str, precision: str) -> tuple[float, int]:
        """The median GFLOP a second of batches painted so, and how many runs say so; NaN if none."""
        found = [
            record["timings"]["gflops"]
            for record in self._records.values()
            if (record.get("device"), record.get("precision")) == (device, precision)
            and "gflops" in record.get("timings", {})
        ]
        return (median(found) if found else float("nan")), len(found)


def take(source: Path, folder: Path, name: str) -> dict[str, Any]:
    """Make `folder` a run directory with the files of the finished run `source`; returns its `run.json`.

    The files are hard links where the file system allows it. `taken_from` in `run.json` names the
    folder that the canvas was painted in; timings are those of the painting.
    """
    record = read_json(source / "run.json")
    if folder == source:
        return record
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file() and path.name not in OWN and not path.name.startswith("."):
            with write_whole(folder / path.name) as temporary:
                _link(path, temporary)
    record |= {"name": name, "taken_from": record.get("taken_from") or str(source)}
    write_json(folder / "run.json", record)
    return record


def _link(source: Path, target: Path) -> None:
    # A log is appended to when its run is painted again, which must not change the other's.
    if source.name != "nst.log":
        target.unlink()
        try:
            os.link(source, target)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(source, target)


def _whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in FILES)
