"""A batch as a task for another process, on this machine or another one that sees the same files."""

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

import torch

from nst.config.schema import TrackingName
from nst.errors import NstError
from nst.execution.device import estimated_gflop
from nst.execution.executors.base import batch_costs, batch_labels, paint_what_fits
from nst.execution.progress import BatchProgress, ProgressDisplay
from nst.execution.resolve import network_of, resolve
from nst.io.files import read_json, write_json
from nst.runs.job import Job, Result
from nst.runs.record import RunRecord, Status, find_damage, now
from nst.runs.writer import RunWriter, record_failure
from nst.tracking.background import tracker_of
from nst.tracking.client import local_path

REPORTS = ".painting"
SECONDS_A_REPORT = 1.0


@dataclass(frozen=True)
class BatchTask:
    """Jobs to be painted together, and what the process that does it has to know. It can be pickled.

    Attributes:
        jobs: of one of `nst.runs.job.batches`' groups.
        report: a file with its progress while it is painted.
        here: the working directory, from which relative paths count.
        made: when; a run that was begun later was painted by this task.
        network: what the sweep is painted with, which may be the fallback of what was asked for; a worker
            that has another must not paint. None if that is not known.
        threads: of PyTorch on the CPU; None leaves them as they are.
    """

    jobs: tuple[Job, ...]
    report: Path
    here: Path
    made: str
    network: str | None
    threads: int | None = None

    def __call__(self) -> list[Result]:
        """Paint and log what of it is not finished yet: a worker may have begun with it and been lost."""
        results = self.paint()
        self.wait()
        return results

    def paint(self) -> list[Result]:
        """The same, but the runs are logged in the background."""
        os.chdir(self.here)
        if self.threads:
            torch.set_num_threads(self.threads)
        there = {job.folder: result for job in self.jobs if (result := finished_result(job, self.made))}
        left = [job for job in self.jobs if job.folder not in there]
        if reason := self._refuses():
            return failed_results(self, reason)
        tracker = tracker_of(self.jobs[0].config.tracking)
        if tracker:
            tracker.watch(job.folder for job in left)
        if left:
            there |= {result.folder: result for result in paint_what_fits(left, self._report)}
        if tracker:
            for job in self.jobs:
                tracker.log(job.folder)
        return [there[job.folder] for job in self.jobs]

    def _refuses(self) -> str | None:
        """Why this process must not paint it: a sweep never mixes two networks."""
        model = self.jobs[0].config.model.name
        mine = network_of(self.jobs[0].config)
        if mine is None or self.network in (None, mine):
            return None
        return (
            f"model={model}: this worker has the weights of {mine} only, and the sweep is painted with "
            f"{self.network}; let all workers see one NST_CACHE, or give model={mine}"
        )

    def wait(self, went_on: Callable[[], object] = lambda: None) -> None:
        """Return when all that was painted here is logged, or given up; see `BackgroundTracker.wait`."""
        if tracker := tracker_of(self.jobs[0].config.tracking):
            tracker.wait(went_on)

    def on(self, device: str) -> "BatchTask":
        """The same on a device."""

        def moved(job: Job) -> Job:
            hardware = replace(job.config.hardware, device=device)
            return replace(job, config=replace(job.config, hardware=hardware))

        return replace(self, jobs=tuple(map(moved, self.jobs)))

    def again(self) -> "BatchTask":
        """The same after an interruption: it resumes its checkpoint, even where `resume=false`."""
        jobs = (replace(job, config=replace(job.config, resume=True)) for job in self.jobs)
        return replace(self, jobs=tuple(jobs))

    def _report(self, progress: BatchProgress) -> None:
        """Write the progress, a second apart, for the process that waits for the results."""
        with suppress(OSError):  # the cells report a full disk
            if time.time() - self.report.stat().st_mtime < SECONDS_A_REPORT:
                return
        with suppress(OSError):
            self.report.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.report, asdict(progress))


def batch_tasks(batches: Sequence[Sequence[Job]]) -> list[BatchTask]:
    """A task a batch, the longest first, so that none of them is what all wait for in the end."""
    ordered = sorted(batches, key=lambda batch: -sum(estimated_gflop(job.config) for job in batch))
    made, here = now(), Path.cwd()
    reports = batches[0][0].folder.parent / REPORTS
    return [
        BatchTask(tuple(batch), reports / f"{uuid4().hex}.json", here, made, network_of(batch[0].config))
        for batch in ordered
    ]


def task_costs(tasks: Sequence[BatchTask]) -> dict[str, float]:
    """The labels of the tasks' batches, each with the arithmetic that it takes."""
    return batch_costs([task.jobs for task in tasks])


class ReportReader:
    """Brings the reports of tasks, which other processes paint, to a display."""

    def __init__(self, tasks: Sequence[BatchTask], display: ProgressDisplay) -> None:
        labels = batch_labels([task.jobs for task in tasks])
        self._labels = dict(zip([task.report for task in tasks], labels, strict=True))
        self._display = display

    def read(self) -> None:
        """Show what the tasks that are painted have reported."""
        for path, label in self._labels.items():
            if report := read_json(path):
                self._display.update(label, BatchProgress(**report))

    def finish(self, task: BatchTask) -> None:
        """Count a task as painted."""
        self._display.finish(self._labels.pop(task.report))


def check_store(jobs: Sequence[Job], launcher: str) -> None:
    """Refuse a store that is a file, where workers are on other machines.

    Raises:
        NstError: it is one.
    """
    for job in jobs:
        tracking = job.config.tracking
        if tracking.name is TrackingName.mlflow and tracking.uri and local_path(tracking.uri):
            raise NstError(
                f"tracking.uri={tracking.uri}: with {launcher} workers are on other machines, which cannot "
                "share a store that is a file or a folder; start a server (docs/tracking.md) and set "
                "MLFLOW_TRACKING_URI=http://HOST:PORT, or give tracking=none"
            )


def remove_reports(some: Sequence[BatchTask]) -> None:
    """Remove the progress reports of tasks."""
    shutil.rmtree(some[0].report.parent, ignore_errors=True)  # with what killed launchers left, too


def finished_result(job: Job, since: str = "") -> Result | None:
    """The result of a job that was painted to its end in its own folder, and begun after `since`."""
    record = RunRecord.read(job.folder)
    if not record.takeable or record.started < since:
        return None
    if record.identity != resolve(job.config).identity or find_damage(job.folder, record):
        return None
    return Result(job.folder, job.name, record.total, None)


def failed_results(task: BatchTask, reason: str) -> list[Result]:
    """The results of a task whose worker is gone for good: what was not finished failed for that `reason`."""
    results = []
    for job in task.jobs:
        result = finished_result(job, task.made)
        if result is None:
            writer = RunWriter(job.folder, RunRecord(name=job.name))
            with record_failure(writer):
                writer.begin()
            writer.fail(NstError(reason))
            result = Result(job.folder, job.name, math.nan, reason, status=Status.FAILED)
        results.append(result)
    return results
