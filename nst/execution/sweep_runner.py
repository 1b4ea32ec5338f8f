"""A sweep from its first check to its last file, whichever sweeper asks for its cells."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from nst.errors import NstError
from nst.execution.composing import Composer
from nst.execution.console import summarize
from nst.execution.executors.base import Executor, InProcessExecutor
from nst.execution.output_dir import first_usable, lock_output_dir
from nst.io.files import atomic_write, format_error
from nst.io.locks import unlock_dir
from nst.io.signals import raise_pending
from nst.report.build import rebuild
from nst.report.drawing import stop_drawing
from nst.report.live_page import live_page
from nst.runs.job import Job
from nst.runs.study_record import StudyRecord
from nst.runs.sweep import close_sweep, results_of, sweeps_in
from nst.runs.verdict_record import VerdictRecord
from nst.tracking.background import BackgroundTracker, tracker_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepCell:
    """One cell of a sweep, composed and checked.

    Attributes:
        number: in the whole sweep: Hydra's `hydra.job.num`.
        overrides: of which it was composed.
        path: its run directory as it was composed; a part of it may be a link.
        job: what to paint.
        composer: of its config.
    """

    number: int
    overrides: list[str]
    path: Path
    job: Job
    composer: Composer = field(repr=False)

    @classmethod
    def of(cls, number: int, overrides: Sequence[str], composer: Composer) -> "SweepCell":
        """Compose and check; raises NstError where it cannot be painted."""
        return cls(number, list(overrides), *composer.job(overrides, number), composer)

    def config(self) -> DictConfig:
        """What its overrides give, with the `hydra` node: composed when it is asked for, and not kept."""
        return self.composer(self.overrides, self.number)


class Sweep(Protocol):
    """What a sweeper wants to have painted.

    Attributes:
        jobs: cells that stand for all, checked: all of a grid, those at the ends of a search.
    """

    @property
    def jobs(self) -> Sequence[Job]: ...

    def conflict(self, folder: Path) -> str | None:
        """Why it may not be painted in `folder`; None if it may."""
        ...

    def show_plan(self, folder: Path, workers: int) -> None:
        """Print what would be painted in `folder` by so many workers."""
        ...

    def open(self, folder: Path) -> None:
        """Say in `folder`, which this process has locked, what will be painted in it."""
        ...

    def batches(self, folder: Path) -> Iterator[list[SweepCell]]:
        """Yield the cells that the launcher is to have at a time."""
        ...


@runtime_checkable
class CellLauncher(Protocol):
    """A launcher that takes cells as they were checked. Others get overrides, and compose them again."""

    @property
    def batch_executor(self) -> Executor: ...

    def launch_cells(self, cells: Sequence[SweepCell]) -> Sequence[Any]:
        """Paint them; what Hydra's `launch` returns."""
        ...


def run_sweep(sweep: Sweep, master: DictConfig, launcher: Launcher) -> list[Any]:
    """Check, lock a folder, open the sweep in it, paint; with `plan=true` only say what would be painted.

    The sweep is closed by `end_sweep`, which Hydra's callback calls whichever sweeper there was.

    Args:
        sweep: what to paint.
        master: the config that Hydra gives a sweeper; its `hydra.sweep.dir` is set to the folder.
        launcher: who runs the jobs.

    Raises:
        NstError: what is wrong with it. Nothing was painted then.
    """
    executor = launcher.batch_executor if isinstance(launcher, CellLauncher) else InProcessExecutor()
    executor.check(sweep.jobs)
    named = Path(master.hydra.sweep.dir)
    if any(job.config.plan for job in sweep.jobs):
        sweep.show_plan(first_usable(named, sweep.conflict)[0], executor.workers)
        return []
    folder = lock_output_dir(named, sweep.conflict)
    with open_dict(master):
        master.hydra.sweep.dir = str(folder)
    sweep.open(folder)
    with atomic_write(folder / "multirun.yaml") as temporary:
        OmegaConf.save(master, temporary)
    try:
        with live_page(folder.resolve(), Path(sweep.jobs[0].config.outputs)):
            return [_launch(launcher, cells) for cells in sweep.batches(folder)]
    except BaseException:
        _abort_sweep(folder.resolve(), tracker_of(sweep.jobs[0].config.tracking))
        raise


def _launch(launcher: Launcher, cells: Sequence[SweepCell]) -> Sequence[Any]:
    if isinstance(launcher, CellLauncher):
        return launcher.launch_cells(cells)
    return launcher.launch([cell.overrides for cell in cells], cells[0].number)


def dir_override(folder: Path, kind: str = "sweep") -> str:
    """The override that puts a sweep, or a run, into a folder."""
    escaped = str(folder).replace("'", "\\'")
    return f"hydra.{kind}.dir='{escaped}'"


def end_sweep(folder: Path, tracker: BackgroundTracker | None, began: float) -> bool:
    """Close a sweep, draw its sheets and pages, complete its parent runs, and print a summary.

    It works from the folder alone, because cells may have been painted in other processes.

    Args:
        folder: of the sweep, or of the sweep of sweeps.
        tracker: of the store, if there is one.
        began: when, by `time.monotonic`.

    Returns:
        Whether a cell failed, or a sheet could not be drawn.
    """
    raise_pending()
    sweeps = sweeps_in(folder)
    results = [result for sweep in sweeps for result in results_of(sweep)]
    failed = any(result.error for result in results)
    for sweep in {folder, *sweeps}:
        close_sweep(sweep)
    verdicts = list[VerdictRecord]()
    try:
        verdicts = _judge(folder)  # the page shows them
        rebuild(folder, tracker.wait if tracker else lambda: None)  # pages say where the runs are
    except (NstError, OSError) as error:
        log.error("%s", format_error(error, folder))
        failed = True
    where = [f"folder  {folder}", f"page    {folder / 'index.html'}"]
    if (folder / "front.png").is_file():
        where.append(f"front   {folder / 'front.png'}")
    if tracker:
        for sweep in sweeps:
            tracker.end(sweep)
        tracker.wait()
        where.append(tracker.where(sweeps[0]))
    where += [f"verdict {verdict.study}: {verdict.text}" for verdict in verdicts]
    summarize(results, time.monotonic() - began, where)
    return failed


def _judge(folder: Path) -> list[VerdictRecord]:
    """The verdicts on the studies in a folder."""
    if not any((sweep / StudyRecord.NAME).is_file() for sweep in sweeps_in(folder)):
        return []
    from nst.studies.judging import judge  # late: SciPy takes a second

    return judge(folder)


def _abort_sweep(folder: Path, tracker: BackgroundTracker | None) -> None:
    """Leave an unfinished sweep so that it can be resumed."""
    stop_drawing()
    sweeps = sweeps_in(folder)
    for sweep in {folder, *sweeps}:
        with suppress(OSError):  # which may be why
            close_sweep(sweep, interrupted=True)
        unlock_dir(sweep)
    if tracker:
        tracker.abort(sweeps)
    results = [result for sweep in sweeps for result in results_of(sweep)]
    finished = sum(result.error is None for result in results)
    log.warning("%s: %d cells are finished; the same command goes on with the rest", folder, finished)
