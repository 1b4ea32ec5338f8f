"""A sweep's folder: its `sweep.json`, its run directories, and their results."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nst.io.text import natural_order
from nst.runs.job import Result
from nst.runs.record import RunRecord, SweepRecord, now


def open_sweep(
    folder: Path, name: str | None, title: str | None, swept: Sequence[str] = (), **more: Any
) -> None:
    """Say in `sweep.json` of a sweep's folder what it is.

    Args:
        folder: a new one, or that of a sweep that was interrupted: it began when it did. It is claimed
            by this process.
        name: of the preset whose sweep it is, or what was asked for if it is a sweep of presets.
        title: what it shows, in words.
        swept: the keys that it sweeps over, after which it is named if nothing else says a name.
        more: `grids`, the folders of the sweeps in it, if it is a sweep of presets; `cells`, how many run
            directories there will be; `folders`, their names, if these are not their numbers; `per_row`,
            how many to show in a row, if it is no grid.
    """
    known = SweepRecord.read(folder)
    SweepRecord(
        name=name or " x ".join(swept) or "sweep",
        title=title,
        command=_command(None if "grids" in more else name),
        started=known.started or now(),
        **more,
    ).write(folder)


def close_sweep(folder: Path, interrupted: bool = False) -> None:
    """Say in `sweep.json` that the sweep is over, or that it was `interrupted`."""
    replace(SweepRecord.read(folder), ended=now(), interrupted=interrupted).write(folder)


def results_of(sweep: Path) -> list[Result]:
    """What `run.json` says of each run of a sweep, in order."""
    return [_result(folder, RunRecord.read(folder)) for folder in run_folders(sweep)]


def _result(folder: Path, record: RunRecord) -> Result:
    error = None if record.finished else record.error or "not finished"
    name = record.name or folder.name
    return Result(folder, name, record.total, error, record.taken_from, record.status)


def run_folders(sweep_dir: Path) -> list[Path]:
    """The run directories that a sweep has, in order, whether they are there yet or not.

    Their names or their number are in `sweep.json`; of a sweep that does not say it, all that are there.
    """
    known = SweepRecord.read(sweep_dir)
    if known.folders is not None:
        return [sweep_dir / name for name in known.folders]
    if known.cells is not None:
        return [sweep_dir / str(number) for number in range(known.cells)]
    there = [
        path for path in sweep_dir.glob("*") if path.name.isdecimal() or (path / RunRecord.NAME).is_file()
    ]
    return sorted(there, key=lambda path: natural_order(path.name))


def sweeps_in(folder: Path) -> list[Path]:
    """The sweep in a folder, or those of a sweep of sweeps, in its order."""
    grids = SweepRecord.read(folder).grids
    return [folder] if grids is None else [folder / name for name in grids]


def _command(preset: str | None) -> str:
    """The command that paints this sweep; of one `preset` where it swept over several."""
    arguments = sys.argv[1:]
    if preset:
        one = preset.replace("study/", "study=", 1) if preset.startswith("study/") else f"experiment={preset}"
        arguments = [
            one if argument.startswith(("experiment=", "study=")) else argument
            for argument in arguments
            if not argument.startswith("hydra.sweep.dir=")
        ]
    program = ["nst"] if Path(sys.argv[0]).name == "nst" else ["python", "run.py"]
    return shlex.join([*program, *arguments])
