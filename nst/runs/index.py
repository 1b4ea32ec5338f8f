"""Finished runs on disk: found by their identity, and taken into another sweep."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median

from nst.errors import NstError
from nst.io.canvas_format import FILES, CanvasFormat
from nst.io.files import atomic_copy, folders_with, is_regular
from nst.io.video import change_rate
from nst.runs.record import OUTPUT_FILES, RunRecord, describe_files, find_damage

log = logging.getLogger(__name__)

LOG = "nst.log"


class RunIndex:
    """The finished runs below some folders, as `run.json` tells of them."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Read every `run.json` below `folders`, of which some may not exist."""
        self._records: dict[Path, RunRecord] = {}
        self._folders: dict[str, list[Path]] = {}
        self._whole: dict[Path, bool] = {}
        for top in dict.fromkeys(folder.resolve() for folder in folders):
            for folder in folders_with(RunRecord.NAME, top):
                if folder not in self._records and (record := RunRecord.read(folder)).takeable:
                    self._records[folder] = record
                    self._folders.setdefault(record.identity, []).append(folder)

    def find(self, identity: str, at: Path, wanted: CanvasFormat = CanvasFormat.png) -> Path | None:
        """The folder of a run with that identity whose files are as it says: `at`, if it is one of them.

        It has its canvas in the format that is `wanted`, or in one that this can be made of.
        """
        known = self._folders.get(identity, [])
        found = [folder for folder in known if self._records[folder].takeable_as(wanted)]
        return next(filter(self._is_whole, sorted(found, key=lambda folder: folder != at)), None)

    def _is_whole(self, folder: Path) -> bool:
        """Whether a run can be taken; one warning if not. Only those that are asked for are read."""
        if folder not in self._whole:
            wrong = find_damage(folder, self._records[folder])
            if wrong:
                log.warning("%s; this run is not taken", wrong)
            self._whole[folder] = wrong is None
        return self._whole[folder]

    def speed(self, device: str, precision: str) -> tuple[float, int]:
        """The median GFLOP a second of batches painted so, and how many runs say so; NaN if none."""
        found = [
            record.gflops
            for record in self._records.values()
            if (record.device, record.precision) == (device, precision) and record.gflops is not None
        ]
        return (median(found) if found else float("nan")), len(found)


def link_run(
    source: Path, folder: Path, name: str, fps: int, wanted: CanvasFormat = CanvasFormat.png
) -> RunRecord:
    """Make `folder` a run directory with the files of the finished run `source`; returns its record.

    Its video is played at `fps` frames a second. Its canvas is there in the format that is `wanted`, too.

    The files are hard links where they may be. `taken_from` in `run.json` names the folder that the
    canvas was painted in; timings are those of the painting.

    Raises:
        NstError: `source` is not finished any more.
    """
    record = RunRecord.read(source)
    if not record.takeable:
        raise NstError(f"{source}: was finished, and is not any more; run the same command again")
    if not record.takeable_as(wanted):
        raise NstError(f"{source}: has no {FILES[wanted]}, which takes painting it again; give resume=false")
    made = wanted is not CanvasFormat.png and FILES[wanted] not in record.files
    if folder == source and record.fps == fps and not made:
        return record
    if folder != source:
        folder.mkdir(parents=True, exist_ok=True)
        for file in OUTPUT_FILES:
            if is_regular(source / file):
                atomic_copy(source / file, folder / file, link=True)
            else:
                (folder / file).unlink(missing_ok=True)
        if is_regular(source / LOG):  # which is appended to when a run is painted again: no link
            atomic_copy(source / LOG, folder / LOG)
        record = replace(record, name=name, taken_from=record.taken_from or source)
    if record.fps != fps:
        change_rate(folder / "canvas.mp4", fps)
    if made:
        from nst.io.canvas_files import convert_canvas  # late: it imports torch

        convert_canvas(folder, wanted)
    if record.fps != fps or made:
        record = replace(record, fps=fps, files=describe_files(folder))
    record.write(folder)
    return record
