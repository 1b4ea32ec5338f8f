"""Logging, later, what is not in MLflow yet.

python -m nst.tracking outputs/…    without doubles
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from nst.config.paths import CONF
from nst.errors import NstError
from nst.io.credentials import strip_command_line, strip_credentials
from nst.io.text import escape_unprintable
from nst.runs.reader import read_run
from nst.runs.record import RunRecord, SweepRecord
from nst.tracking.client import Store, TrackingUnavailable, absolute_uri
from nst.tracking.logger import end_sweep, log_run, painted_cells, run_url
from nst.tracking.tracked import tracked_run

DEFAULTS = CONF / "tracking/mlflow.yaml"


def tracked_in(folder: Path) -> Iterator[Path]:
    """The sweep or the run that a folder is; else those in the folders below it."""
    sweep = SweepRecord.read(folder, lenient=True)
    if (not sweep.blank and sweep.grids is None) or (folder / RunRecord.NAME).is_file():
        yield folder
    else:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
                yield from tracked_in(path)


def configured_store(folder: Path, **chosen: Any) -> Store:
    """Where a run, or the first cell of a sweep, was to be tracked, but for what is `chosen` here.

    What the run does not say is as `conf/tracking/mlflow.yaml` has it.
    """
    run = next((run for run in map(read_run, [folder, *painted_cells(folder)]) if run.config), None)
    default = OmegaConf.load(DEFAULTS)
    for key in ("uri", "experiment", "canvas_steps"):
        if chosen.get(key) is None:
            configured = run.value(f"tracking.{key}") if run else None
            chosen[key] = OmegaConf.select(default, key) if configured is None else configured
    store = Store(**chosen)
    return replace(
        store, uri=absolute_uri(strip_credentials(store.uri))
    )  # an old config may hold credentials


def _log(folder: Path, store: Store) -> tuple[int, int]:
    """Log a run or a sweep; how many runs were sent, and how many were there already."""
    sweep = (folder / SweepRecord.NAME).is_file()
    runs = painted_cells(folder) if sweep else [folder]
    before = [tracked_run(run) for run in runs]
    (end_sweep if sweep else log_run)(folder, store)
    sent = sum(tracked_run(run) != old for run, old in zip(runs, before, strict=True))
    return sent, len(runs) - sent


def main() -> int:
    """Log the runs and sweeps in a folder, and in those below it, that are not in MLflow yet."""
    parser = argparse.ArgumentParser(prog="python -m nst.tracking", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    as_configured = "default: as each run was configured"
    parser.add_argument("--uri", help=f"{as_configured}; NAME:PASSWORD@ in it goes no further")
    parser.add_argument("--experiment", help=as_configured)
    parser.add_argument("--canvas-steps", type=int, help=as_configured)
    logged, there, failed, places = 0, 0, False, dict[str, None]()
    try:
        strip_command_line()
        given = vars(parser.parse_args())
        top = given.pop("folder")
        if not top.is_dir():
            raise NstError(f"{top}: no such folder; give that of a run, of a sweep, or one above them")
        folders = list(tracked_in(top))
        if not folders:
            raise NstError(f"{top}: no runs in it; give the folder of a run, of a sweep, or one above them")
        for folder in folders:
            store = configured_store(folder, **given)
            try:
                sent, known = _log(folder, store)
            except TrackingUnavailable:
                raise
            except NstError as error:  # it is of this folder, and the others can do without it
                print(escape_unprintable(str(error)), file=sys.stderr)
                failed = True
                continue
            print(escape_unprintable(f"{folder}: {sent} logged, {known} there already"), flush=True)
            logged, there = logged + sent, there + known
            places[run_url(folder, store)] = None
    except NstError as error:
        sys.exit(escape_unprintable(str(error)))
    print(f"{logged} runs logged, {there} there already", *places, sep="\n")
    return int(failed)
