"""What Hydra calls for its jobs: from composed configs to results."""

import logging
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from nst.config.canvas_shape import canvas_shape
from nst.config.composed import from_composed
from nst.config.schema import Config
from nst.core.engine import save_points
from nst.errors import NstError
from nst.execution.console import announce, show_plan, summarize
from nst.execution.device import decided
from nst.execution.executors.base import Executor, InProcessExecutor
from nst.execution.hydra_settings import check_hydra
from nst.execution.plan import Plan, plan
from nst.io.files import check_free_space, format_error
from nst.report.build import begin_sheets, rebuild
from nst.report.live_page import live_page
from nst.report.outputs_index import refresh_index
from nst.runs.checkpoint import remove_stale_batches
from nst.runs.index import link_run
from nst.runs.job import Job, Result
from nst.runs.record import RunRecord, Status, SweepRecord
from nst.runs.writer import RunWriter, record_failure
from nst.tracking.background import tracker_of

log = logging.getLogger(__name__)


def job_of(
    composed: DictConfig, hydra: Any, folder: Path, read: Mapping[str, Any] = MappingProxyType({})
) -> Job:
    """The job that Hydra has composed.

    Args:
        composed: the config.
        hydra: its `hydra` node, which it need not have any more.
        folder: its run directory.
        read: what is known of it, as `from_composed` takes it.

    Raises:
        NstError: the config cannot be painted.
    """
    check_hydra(hydra)
    return checked_job(composed, folder, tuple(hydra.overrides.task), read)


def checked_job(
    composed: DictConfig, folder: Path, overrides: tuple[str, ...], read: Mapping[str, Any]
) -> Job:
    """The same, of a job whose overrides are known, and of which Hydra's part was checked."""
    config = decided(from_composed(composed, read))
    return Job(config, folder.resolve(), overrides)


def job_here(composed: DictConfig) -> Job:
    """The job that Hydra has set up; raises NstError where its config cannot be painted."""
    hydra = HydraConfig.get()
    return job_of(composed, hydra, Path(hydra.runtime.output_dir))


def paint(composed: DictConfig) -> float:
    """Paint one job on its own; returns its final total loss.

    Raises:
        NstError: outside a sweep, what is wrong with it. In a sweep that is left in `run.json`, the loss
            is NaN, and the other jobs go on.
    """
    hydra, job = HydraConfig.get(), job_here(composed)
    os.chdir(hydra.runtime.cwd)  # `hydra.job.chdir=true` has left it; relative paths count from there
    if job.config.plan:
        show_plan(plan([job]))
        return math.nan
    return paint_job(job, hydra.mode is RunMode.MULTIRUN)


def paint_job(job: Job, sweeping: bool = False) -> float:
    """Paint a job on its own and track it; raises and returns as `paint` does."""
    began = time.monotonic()
    tracker, planned = tracker_of(job.config.tracking), plan([job])
    if tracker and not sweeping:
        tracker.close(Path(job.config.outputs))
    if tracker and planned.batches:
        tracker.watch([job.folder])
    alone = planned.batches and not sweeping
    with live_page(job.folder, Path(job.config.outputs)) if alone else nullcontext():
        [result] = _paint(planned, InProcessExecutor())
    if tracker:
        tracker.log(job.folder)
        tracker.wait()
    if not sweeping:
        if result.error is not None:
            raise NstError(result.error)
        where = [f"folder  {job.folder}", f"page    {job.folder / 'index.html'}"]
        where += [tracker.where(job.folder)] if tracker else []
        _show(job)
        summarize([result], time.monotonic() - began, where)
    return result.loss


def _show(job: Job) -> None:
    """Make the page of a single run; a failure is a warning, for the canvas is there."""
    try:
        rebuild(job.folder)
    except (NstError, OSError) as error:
        log.warning("%s", format_error(error, job.folder))
    refresh_index(Path(job.config.outputs))


def paint_together(jobs: Sequence[Job], executor: Executor | None = None) -> list[Result]:
    """Paint the jobs of a sweep in batches; returns a result each, in order.

    While one batch is painted, the runs of those before are logged, and the sheets of their sweeps drawn.

    Args:
        jobs: all that the sweeper asks for at a time.
        executor: who paints them; this process, if not said.
    """
    executor = executor or InProcessExecutor()
    jobs = named_by_what_varies(jobs)
    tracker, results = tracker_of(jobs[0].config.tracking), dict[Path, Result]()
    planned = plan(jobs, executor.workers)
    if tracker:
        for sweep in dict.fromkeys(job.folder.parent for job in jobs):
            tracker.begin(sweep)
        if executor.logs:
            tracker.wait()  # else each of them might make it
    painted = {job.folder for batch in planned.batches for job in batch}
    logged = painted if executor.logs else set()
    if tracker and not executor.logs:
        tracker.watch(painted)
    left = Counter(job.folder.parent for job in jobs)
    whole = {sweep for sweep, cells in left.items() if SweepRecord.read(sweep, lenient=True).cells == cells}
    for result in _paint(planned, executor):
        results[result.folder] = result
        if tracker and result.folder not in logged:
            tracker.log(result.folder)
        sweep = result.folder.parent
        left[sweep] -= 1
        if not left[sweep] and sweep in whole and left.total():
            begin_sheets(sweep)
    return [results[job.folder] for job in jobs]


def named_by_what_varies(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs, without the overrides that all cells of their sweep have.

    The only cell of a sweep is compared with all jobs; one that nothing tells apart keeps its own.
    """
    sweeps: dict[Path, list[Job]] = {}
    for job in jobs:
        sweeps.setdefault(job.folder.parent, []).append(job)

    everywhere = _common(jobs)
    common = {sweep: _common(cells) if len(cells) > 1 else everywhere for sweep, cells in sweeps.items()}

    def named(job: Job) -> Job:
        telling = tuple(part for part in job.overrides if part not in common[job.folder.parent])
        return replace(job, overrides=telling or job.overrides)

    return [named(job) for job in jobs]


def _common(jobs: Sequence[Job]) -> set[str]:
    """The overrides that all have."""
    return set.intersection(*(set(job.overrides) for job in jobs))


def _paint(planned: Plan, executor: Executor) -> Iterator[Result]:
    """Yield a result a job: what was painted before first, then batch after batch.

    A job that another one paints as well follows that one.
    """
    jobs = {job.folder: job for job in planned.jobs}
    finished = {planned.identities[folder] for folder in planned.done}
    if planned.done:
        log.info("%s", _painted_before(planned))
    announce(planned)
    for folder, source in planned.done.items():
        yield _take(source, jobs[folder])
    for results in executor.paint(planned.batches):
        for result in results:
            if result.error is None and result.folder in planned.identities:
                finished.add(planned.identities[result.folder])
            yield result
            for folder, painter in planned.shared.items():
                if painter == result.folder:
                    yield _follow(result, jobs[folder])
        if any(result.error for result in results):
            # Where the disk is what failed, so will all that follow.
            folder = results[0].folder
            check_free_space(folder.parent, _room(jobs[folder].config))
        for result in results:
            # The summary of a sweep is made from what `run.json` says; where that could not be written:
            if result.error and len(jobs) > 1 and not RunRecord.read(result.folder, lenient=True).error:
                log.error("%s", result.error)
    remove_stale_batches(Path(planned.jobs[0].config.outputs), finished)


def _painted_before(planned: Plan) -> str:
    places = sorted({str(source.parent) for source in planned.done.values()})
    where = places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1} more"
    if len(planned.jobs) == 1:
        return f"painted before, in {next(iter(planned.done.values()))}; resume=false paints it again"
    rest = "nothing is left to paint" if not planned.batches else f"{_left(planned)} are left"
    return (
        f"{len(planned.done)} of {len(planned.jobs)} cells were painted before, in {where}; {rest} "
        "(resume=false paints all again)"
    )


def _left(planned: Plan) -> int:
    return sum(map(len, planned.batches))


def _room(config: Config) -> int:
    """About as many bytes as a cell takes on disk: its three pictures, and its video, by experience."""
    frames = len(save_points(config.all_iterations, config.save_every))
    return 3 * math.prod(canvas_shape(config)) * (3 + frames // 30) + 200 * config.all_iterations


def _take(source: Path, job: Job) -> Result:
    """The result of a job whose canvas is that of the finished run `source`."""
    if source != job.folder:
        RunWriter(job.folder, RunRecord(name=job.name)).begin()  # so that what is taken is known for a run's
    record = link_run(source, job.folder, job.name, job.config.fps, job.config.canvas_format)
    return Result(job.folder, job.name, record.total, None, record.taken_from)


def _follow(result: Result, job: Job) -> Result:
    """The result of a job that was painted as another one, or failed as that did."""
    if result.error is None:
        return _take(result.folder, job)
    writer = RunWriter(job.folder, RunRecord(name=job.name))
    with record_failure(writer):
        writer.begin()
    writer.fail(NstError(result.error))
    return Result(job.folder, job.name, math.nan, result.error, status=Status.FAILED)
