"""Slurm: a job array of batches, by submitit; a job that is preempted is queued again and goes on."""

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.helpers import DelayedSubmission

from nst.errors import NstError
from nst.execution.executors.task import (
    BatchTask,
    ReportReader,
    batch_tasks,
    check_store,
    failed_results,
    remove_reports,
    task_costs,
)
from nst.execution.progress import progress_display
from nst.io.signals import Interrupted, install_handlers, raise_on_signal
from nst.runs.job import Job, Result

log = logging.getLogger(__name__)

LAUNCHER = "hydra/launcher=batched_slurm"
SECONDS_A_LOOK = 2.0
SECONDS_TO_LOOK = 10  # for a node that is free to see whether it has the images
SECONDS_TO_ANSWER = 60.0
SECONDS_A_QUESTION = 15.0  # between two calls of squeue
MISSED = 4  # of these in a row, without the job in any, until it is taken for lost


@dataclass(frozen=True)
class SlurmExecutor:
    """Submits each batch as a job of one array, and waits for them all.

    Attributes:
        workers: into about how many batches to cut; Slurm runs as many at a time as it has room for.
        executor: `slurm`, or `local` for processes of this machine instead.
        folder: for what jobs print, relative to that of the sweep.
        parameters: of `submitit.AutoExecutor`.
    """

    workers: int
    executor: str
    parameters: dict[str, Any]
    folder: str = ".slurm"
    logs = True

    def check(self, jobs: Sequence[Job]) -> None:
        """Refuse what cannot be submitted.

        Raises:
            NstError: there is no Slurm, or no such partition, or workers cannot reach the store or see
                the images.
        """
        if self.executor not in ("slurm", "local"):
            raise NstError(f"hydra.launcher.executor={self.executor}: allowed are slurm, local")
        if self.executor == "local":
            return
        if not shutil.which("sbatch"):
            raise NstError(
                f"{LAUNCHER}: there is no sbatch on this machine; run it where there is, or give "
                "hydra.launcher.executor=local to try it without a cluster"
            )
        asked = _ask(["sinfo", "--noheader", "--format=%R"])
        if asked.returncode:
            said = " ".join(asked.stderr.split())
            raise NstError(f"{LAUNCHER}: Slurm does not answer ({said}); see that slurmctld is up")
        partition, known = self.parameters.get("slurm_partition"), asked.stdout.split()
        if partition is not None and partition not in known:
            raise NstError(
                f"hydra.launcher.partition={partition}: no such partition; allowed are {', '.join(known)}"
            )
        check_store(jobs, LAUNCHER)
        if missing := self._missing(sorted({path for job in jobs for path in job.paths()})):
            raise NstError(
                f"{missing[0]}: not there on a node of the cluster; {LAUNCHER} needs a file system that all "
                "nodes see, at the same place"
            )

    def _missing(self, paths: list[str]) -> list[str]:
        """What of `paths` a node does not see; nothing if none is free to look right now."""
        asked = ["srun", "--quiet", f"--immediate={SECONDS_TO_LOOK}", "--ntasks=1", "--time=1", "--chdir=/"]
        if partition := self.parameters.get("slurm_partition"):
            asked.append(f"--partition={partition}")
        extra = self.parameters.get("slurm_additional_parameters", {})
        asked += [f"--{key}={value}" for key, value in extra.items() if key != "requeue"]
        look = 'for path; do [ -e "$path" ] || printf "%s\\0" "$path"; done'
        looked = _ask([*asked, "bash", "-c", look, "look", *paths], 3 * SECONDS_TO_LOOK)
        return looked.stdout.split("\0")[:-1] if looked.returncode == 0 else []

    def paint(self, batches: Sequence[Sequence[Job]]) -> Iterator[list[Result]]:
        """Yield the results of each batch as it ends."""
        if not batches:
            return
        tasks = batch_tasks(batches)
        executor = submitit.AutoExecutor(tasks[0].report.parent.parent / self.folder, cluster=self.executor)
        executor.update_parameters(**self.parameters)
        try:
            with executor.batch():
                submitted = [executor.submit(SubmittedTask(task)) for task in tasks]
        except Exception as error:  # submitit's own, with what sbatch said
            raise NstError(f"{LAUNCHER}: not submitted: {' '.join(str(error).split())}") from error
        waiting = dict(zip(submitted, tasks, strict=True))
        log.info("%d jobs submitted: %s", len(submitted), submitted[0].job_id.partition("_")[0])
        queue = _Queue(self.executor == "slurm")
        try:
            with progress_display(task_costs(tasks)) as display:
                reports = ReportReader(tasks, display)
                while waiting:
                    time.sleep(SECONDS_A_LOOK)
                    reports.read()
                    for job in [job for job in waiting if _done(job) or queue.has_lost(job)]:
                        task = waiting.pop(job)
                        reports.finish(task)
                        yield _results(job, task)
        except BaseException:
            for job in waiting:
                job.cancel()
            raise
        finally:
            remove_reports(tasks)


@dataclass(frozen=True)
class SubmittedTask:
    """A batch task as submitit's callable: stopped, it saves a checkpoint and is queued again."""

    task: BatchTask

    def __call__(self) -> list[Result]:
        """Paint it, in a job."""
        logging.getLogger().setLevel(logging.INFO)  # for the log of each run
        number = getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}")
        queue_again: Any = signal.getsignal(number)
        install_handlers((number,))
        try:
            with raise_on_signal():
                return self.task()
        except Interrupted as stop:
            queue_again(stop.number, None)
            raise

    def checkpoint(self) -> DelayedSubmission:
        """What submitit queues again: the same, which takes what is finished as it is."""
        return DelayedSubmission(SubmittedTask(self.task.again()))


class _Queue:
    """Slurm's queue, asked now and then: a job that was cancelled in it leaves no result."""

    def __init__(self, there: bool) -> None:
        self._there = there
        self._asked, self._listed = 0.0, set[str]()
        self._missed: dict[str, int] = {}

    def has_lost(self, job: "submitit.Job[list[Result]]") -> bool:
        if not self._there:  # then it is a process of this machine
            return job.state != "RUNNING" and not _done(job)
        if time.monotonic() - self._asked >= SECONDS_A_QUESTION:
            self._look(job.job_id.partition("_")[0])
        return self._missed.get(job.job_id, 0) >= MISSED

    def _look(self, array: str) -> None:
        self._asked = time.monotonic()
        asked = _ask(["squeue", "--noheader", "--array", "--format=%i", f"--jobs={array}"])
        if asked.returncode and "Invalid job id" not in asked.stderr:
            return  # the controller is away for a while
        listed = set(asked.stdout.split())
        self._listed |= listed
        for job_id in self._listed:
            self._missed[job_id] = 0 if job_id in listed else self._missed.get(job_id, 0) + 1


def _ask(command: list[str], seconds: float = SECONDS_TO_ANSWER) -> "subprocess.CompletedProcess[str]":
    """What a command of Slurm says; it has failed where that takes too long."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"nothing for {seconds:g} s")


def _done(job: "submitit.Job[list[Result]]") -> bool:
    return Path(job.paths.result_pickle).exists()


def _results(job: "submitit.Job[list[Result]]", task: BatchTask) -> list[Result]:
    try:
        return (
            job.result()
            if _done(job)
            else failed_results(task, f"job {job.job_id} is gone from Slurm's queue")
        )
    except Exception as error:  # whatever it was that the job raised
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        return failed_results(task, f"job {job.job_id}: {reason[0]}; see {job.paths.stderr}")
