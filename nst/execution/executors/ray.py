"""Ray: a task a batch; what a lost worker had is begun again on another."""

import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

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
from nst.io.credentials import SECRETS, USERNAME
from nst.io.signals import Interrupted, install_handlers, raise_on_signal
from nst.runs.job import Job, Result

log = logging.getLogger(__name__)

LAUNCHER = "hydra/launcher=batched_ray"
SECONDS_A_LOOK = 0.5
SECONDS_TO_CONNECT = 5.0
SECONDS_TO_LOOK = 300.0  # for a node to start a process in which it looks, or to hand over a result
SECONDS_TO_KEEP = 60  # that tasks get to save their checkpoints when they are asked to stop
ATTEMPTS = 4  # at a batch whose worker dies


class RayExecutor:
    """Paints each batch as a task of a Ray cluster whose nodes see the same files.

    Attributes:
        workers: how many batches the cluster can paint at a time.
    """

    logs = True

    def __init__(self, address: str | None, cpus: float, gpus: float) -> None:
        """Connect to a cluster, or start one on this machine if there is no `address`.

        Raises:
            NstError: it does not answer, or has no worker with so many CPUs and GPUs.
        """
        self.address, self.cpus, self.gpus = address, cpus, gpus
        self._connect()
        fitting = [_fitting(node["Resources"], cpus, gpus) for node in ray.nodes() if node["Alive"]]
        self.workers = sum(fitting)
        if not self.workers:
            key = f"hydra.launcher.gpus={gpus:g}" if gpus else f"hydra.launcher.cpus={cpus:g}"
            raise NstError(f"{key}: no node of the Ray cluster has that many; give fewer")

    def check(self, jobs: Sequence[Job]) -> None:
        """Refuse what nodes of the cluster cannot do.

        Raises:
            NstError: one of them cannot reach the store, or does not see the images.
        """
        alive = [node for node in ray.nodes() if node["Alive"]]
        if len({node["NodeManagerAddress"] for node in alive}) > 1:
            check_store(jobs, LAUNCHER)
        paths = sorted({path for job in jobs for path in job.paths()})
        here = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in alive]
        asked = [_missing.options(scheduling_strategy=node).remote(paths) for node in here]
        try:
            looked = ray.get(asked, timeout=SECONDS_TO_LOOK)
        except ray.exceptions.RayError as error:
            said = str(error).strip().splitlines()[-1]
            raise NstError(f"{LAUNCHER}: a node does not answer ({said}); `ray status` lists them") from error
        for node, missing in zip(alive, looked, strict=True):
            if missing:
                raise NstError(
                    f"{missing[0]}: not there on {node['NodeManagerHostname']}; {LAUNCHER} needs a file "
                    "system that all nodes see, at the same place"
                )

    def paint(self, batches: Sequence[Sequence[Job]]) -> Iterator[list[Result]]:
        """Yield the results of each batch as it ends."""
        if not batches:
            return
        tasks = batch_tasks(batches)
        remote = _paint.options(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=ATTEMPTS - 1)
        # A worker of a cluster that was there before has its own environment.
        secrets = {name: os.environ[name] for name in (USERNAME, *SECRETS) if name in os.environ}
        waiting = {remote.remote(task, secrets): task for task in tasks}
        try:
            with progress_display(task_costs(tasks)) as display:
                reports = ReportReader(tasks, display)
                while waiting:
                    ready, _ = ray.wait(list(waiting), timeout=SECONDS_A_LOOK)
                    reports.read()
                    for reference in ready:
                        task = waiting.pop(reference)
                        reports.finish(task)
                        yield _results(reference, task)
        except BaseException:
            self._stop(list(waiting))
            raise
        finally:
            remove_reports(tasks)

    def _stop(self, running: list[Any]) -> None:
        """Let tasks save their checkpoints and end; a signal meanwhile, or a minute, and they are killed."""
        log.info("stopping when the canvases are kept; once more stops at once")
        try:
            for reference in running:
                ray.cancel(reference)
            ray.wait(running, num_returns=len(running), timeout=SECONDS_TO_KEEP)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
            if not self.address:
                ray.shutdown()

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        host, _, port = (self.address or "").rpartition(":")
        named = f"hydra.launcher.address={self.address}"
        if port.isdecimal():
            try:
                socket.create_connection((host.removeprefix("ray://"), int(port)), SECONDS_TO_CONNECT).close()
            except OSError as error:
                raise NstError(
                    f"{named}: no Ray cluster answers there ({error}); `ray start --head` starts one"
                ) from error
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=self.address or "local",  # by itself it may take one for alive that is gone
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=None if self.address else False,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            said = " ".join(str(error).split())
            raise NstError(
                f"{named}: no Ray cluster answers ({said}); `ray start --head` starts one"
            ) from error
        finally:
            signal.signal(signal.SIGTERM, before)  # Ray has taken it


@ray.remote
def _paint(task: BatchTask, environment: dict[str, str]) -> list[Result]:
    os.environ |= environment
    logging.getLogger().setLevel(logging.INFO)  # for the log of each run
    install_handlers((signal.SIGINT,))  # which is how Ray cancels
    try:
        with raise_on_signal():
            return task()
    except Interrupted as stop:
        raise KeyboardInterrupt from stop


@ray.remote(num_cpus=0)
def _missing(paths: list[str]) -> list[str]:
    from pathlib import Path

    return [path for path in paths if not Path(path).exists()]


def _fitting(resources: dict[str, float], cpus: float, gpus: float) -> int:
    """How many tasks of that size a node has room for."""
    room = [resources.get(name, 0) / wanted for name, wanted in (("CPU", cpus), ("GPU", gpus)) if wanted]
    return int(min(room, default=1))


def _results(reference: Any, task: BatchTask) -> list[Result]:
    try:
        results: list[Result] = ray.get(reference, timeout=SECONDS_TO_LOOK)
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).strip().splitlines()[-1:])
        return failed_results(task, f"its Ray worker failed {ATTEMPTS} times at most: {reason}")
    return results
