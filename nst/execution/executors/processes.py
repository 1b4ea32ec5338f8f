"""Several devices of this machine: a worker process each, that takes one batch after the other."""

import logging
import os
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any

import torch

from nst.errors import NstError
from nst.execution.executors.task import (
    BatchTask,
    ReportReader,
    batch_tasks,
    failed_results,
    remove_reports,
    task_costs,
)
from nst.execution.progress import progress_display
from nst.io.signals import Interrupted, install_handlers, raise_on_signal
from nst.runs.job import Job, Result
from nst.tracking.background import QUIET_SECONDS

log = logging.getLogger(__name__)

SECONDS_A_LOOK = 0.5
SECONDS_TO_KEEP = 60  # that workers get to keep their batches when they are asked to stop
SECONDS_A_MESSAGE = 300  # for a worker to take it, or send the rest: it may have to import PyTorch first
SECONDS_TO_DIE = 5
ATTEMPTS = 2  # at a batch whose worker dies


class ProcessExecutor:
    """One worker process a device; the batches are handed out as workers become free."""

    logs = True

    def __init__(self, devices: Sequence[str]) -> None:
        self.devices = devices
        self.workers = len(devices)

    def check(self, jobs: Sequence[Job]) -> None:
        """Nothing: workers see what this process sees."""

    def paint(self, batches: Sequence[Sequence[Job]]) -> Iterator[list[Result]]:
        """Yield the results of each batch as it ends."""
        if not batches:
            return
        share = max(1, (os.cpu_count() or 1) // self.workers)
        tasks = [replace(task, threads=share) for task in batch_tasks(batches)]
        waiting = deque((task, ATTEMPTS) for task in tasks)
        idle = [_Worker(device) for device in self.devices[: len(batches)]]
        busy: dict[_Worker, tuple[BatchTask, int]] = {}
        try:
            with progress_display(task_costs(tasks)) as display:
                reports = ReportReader(tasks, display)
                while waiting or busy:
                    while waiting and idle:
                        worker = idle.pop()
                        busy[worker] = waiting.popleft()
                        worker.begin(busy[worker][0])
                    wait([worker.pipe for worker in busy], SECONDS_A_LOOK)
                    reports.read()
                    for worker in [worker for worker in busy if worker.pipe.poll()]:
                        task, attempts = busy.pop(worker)
                        answer = worker.answer()
                        if answer is not None:
                            idle.append(worker)
                            reports.finish(task)
                            yield answer
                        elif attempts > 1:
                            log.warning("%s; its batch starts again", worker.exit_reason())
                            waiting.appendleft((task, attempts - 1))
                        else:
                            reports.finish(task)
                            yield failed_results(
                                task, f"{worker.exit_reason()}, {ATTEMPTS} times; see its nst.log"
                            )
                        if answer is None and waiting:
                            idle.append(_Worker(worker.device))
            _end(idle)
        except BaseException:
            _stop(idle, busy)
            raise
        finally:
            remove_reports(tasks)


def devices_of(wanted: Any) -> list[str]:
    """The devices that `hydra.launcher.devices` means.

    Raises:
        NstError: there are no such devices on this machine.
    """
    count = torch.cuda.device_count()
    there = [f"cuda:{index}" for index in range(count)]
    key = "hydra.launcher.devices"
    if wanted == "all":
        if not there:
            raise NstError(f"{key}=all: this machine has no CUDA device; give [cpu,cpu] for two CPU workers")
        return there
    if isinstance(wanted, str) or not isinstance(wanted, Sequence) or not wanted:
        raise NstError(f"{key}={wanted}: give all, or a list such as [cuda:0,cuda:1] or [cpu,cpu]")
    for device in wanted:
        if device not in (*there, "cpu"):
            raise NstError(f"{key}={device}: no such device here; allowed are {', '.join((*there, 'cpu'))}")
    return list(wanted)


class _Worker:
    """A process that paints batch tasks on a device, at the other end of a pipe."""

    def __init__(self, device: str) -> None:
        context = get_context("spawn")  # CUDA does not survive a fork
        self.device = device
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), name=f"nst-{device}")
        self.process.start()
        theirs.close()
        with socket.socket(fileno=os.dup(self.pipe.fileno())) as end:
            for way in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                end.setsockopt(socket.SOL_SOCKET, way, struct.pack("ll", SECONDS_A_MESSAGE, 0))

    def begin(self, task: BatchTask) -> None:
        try:
            self.pipe.send(task.on(self.device))
        except OSError:  # it died meanwhile, or takes nothing; `answer` will tell
            self.end()

    def answer(self) -> list[Result] | None:
        """The results it sent; None if it died."""
        try:
            answer: list[Result] = self.pipe.recv()
        except (EOFError, OSError):
            self.end()
            return None
        return answer

    def finish(self) -> None:
        """Let it log what it painted, as long as it says now and then that it does, and end."""
        with suppress(EOFError, OSError):
            while self.pipe.poll(QUIET_SECONDS + SECONDS_TO_KEEP):
                self.pipe.recv()
        self.end()

    def end(self) -> None:
        """See that it is gone; one that does not go by itself is killed."""
        self.process.join(SECONDS_TO_DIE)
        self.process.kill()
        self.process.join(SECONDS_TO_DIE)

    def exit_reason(self) -> str:
        return f"the worker on {self.device} died (exit code {self.process.exitcode})"


def _serve(pipe: Connection) -> None:
    """What a worker process does until the pipe is closed, or a signal ends it."""
    os.setsid()  # Ctrl-C is for the process that launched it, which passes it on
    install_handlers()
    Thread(target=_follow, name="follow", daemon=True).start()
    logging.getLogger().setLevel(logging.INFO)  # for the log of each run
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        with raise_on_signal():
            task = None
            while (following := _next(pipe)) is not None:
                task = following
                _send(pipe, task.paint())
            if task is not None:
                task.wait(lambda: _send(pipe, None))
    except Interrupted as stop:
        os._exit(128 + stop.number)


def _send(pipe: Connection, message: list[Result] | None) -> None:
    with suppress(OSError):  # nobody wants it any more
        pipe.send(message)


def _next(pipe: Connection) -> BatchTask | None:
    """What to paint next; None at the end."""
    try:
        task: BatchTask | None = pipe.recv()
    except (EOFError, OSError):
        return None
    return task


def _follow() -> None:
    """Stop as by a signal when the process that launched this one is gone, however it went; and soon."""
    launcher = parent_process()
    assert launcher is not None
    launcher.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_KEEP)
    os._exit(128 + signal.SIGTERM)


def _end(idle: Sequence[_Worker]) -> None:
    """Let workers that have nothing left to paint log what they painted, and end."""
    for worker in idle:
        with suppress(OSError):
            worker.pipe.send(None)
    for worker in idle:
        worker.finish()


def _stop(idle: Sequence[_Worker], busy: Collection[_Worker]) -> None:
    """Let workers keep their batches and end; a signal meanwhile, or a minute, and they are killed."""
    deadline = time.monotonic() + SECONDS_TO_KEEP
    try:
        for worker in busy:
            worker.process.terminate()
        for worker in busy:
            worker.process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for worker in [*idle, *busy]:
            worker.process.kill()
        for worker in [*idle, *busy]:
            worker.process.join(SECONDS_TO_DIE)
