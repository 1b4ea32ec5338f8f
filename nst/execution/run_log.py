"""`nst.log` of each run: what happened to it, from its start to its end."""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from nst.core.engine import Snapshot
from nst.execution import progress
from nst.execution.device import device_name, device_of, memory
from nst.execution.resolve import ResolvedCell
from nst.io.files import unshare
from nst.runs.job import Job
from nst.runs.record import RunRecord, Status
from nst.runs.writer import RunWriter

log = logging.getLogger(__name__)
# What concerns one cell; it reaches the console where the level of `nst` is DEBUG (`hydra.verbose=nst`).
story = logging.getLogger("nst.story")
story.setLevel(logging.INFO)

STEPS = 10  # reports of a run, about
SECONDS_A_REPORT = 60.0  # between two of them at most
_warned = set[str]()


@contextmanager
def logged_to(folders: Sequence[Path]) -> Iterator[None]:
    """Let each folder's `nst.log` have what is logged inside, but for what is told of another folder."""
    story.propagate = logging.getLogger("nst").isEnabledFor(logging.DEBUG)
    loggers = [logging.getLogger()] if story.propagate else [logging.getLogger(), story]
    with ExitStack() as stack:
        for folder in folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                unshare(folder / "nst.log")
                handler = _RunLog(folder / "nst.log")
            except OSError as error:  # what else of the run cannot be written fails it
                warn_once(f"{error.filename}: {error.strerror}; painting goes on without a log")
                continue
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            handler.addFilter(partial(_concerns, folder))
            stack.callback(handler.close)
            for logger in loggers:
                logger.addHandler(handler)
                stack.callback(logger.removeHandler, handler)
        yield


def _concerns(folder: Path, record: logging.LogRecord) -> bool:
    """Whether a run's log is to have a record: not that of another run, nor how far all of them are."""
    return getattr(record, "folder", folder) == folder and record.name != progress.__name__


def warn_once(message: str) -> None:
    """Warn, once a process."""
    if message not in _warned:
        _warned.add(message)
        log.warning("%s", message)


class _RunLog(logging.FileHandler):
    """A run's log. It is no part of the result: where its disk takes no more, one line says so."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as logging calls it
        """Say so, once: what is wrong with the disk fails the cells as well."""
        warn_once("nst.log: its disk takes no more; painting goes on without a log")

    def close(self) -> None:
        """Let go of the file, whether or not it takes the rest."""
        with suppress(OSError):
            super().close()


def _tell(folder: Path, message: str, level: int = logging.INFO) -> None:
    story.log(level, "%s", message, extra={"folder": folder})


def tell_start(jobs: Sequence[Job], cells: Sequence[ResolvedCell]) -> None:
    """Say of each cell of a batch what is painted, on what, and with whom."""
    configs = [job.config for job in jobs]
    together = f"a batch of {len(jobs)} cells" if len(jobs) > 1 else "alone"
    device = device_name(device_of(configs[0]))
    for job, cell in zip(jobs, cells, strict=True):
        config, weights = job.config, cell.weights
        asked = f" in place of {config.model.name}" if weights.name != config.model.name else ""
        sizes = ", ".join(f"{scale.size} px for {scale.iterations}" for scale in config.schedule)
        images = [f"content {config.images.content}"] * config.uses_content
        images += [f"style {path}" for path in config.images.styles if config.uses_style]
        begin = f"from {config.init_image.name}, seed {config.seed}"
        for line in (
            f"painting {job.name}",
            f"on {device} in {config.hardware.precision.name}, {together}, about {memory(configs):.1f} GiB",
            f"with {weights.name}{asked}, weights from {weights.source}",
            ", ".join(images),
            f"{sizes} iterations of {config.optimizer.name}, {begin}",
        ):
            _tell(job.folder, line)


class Reports:
    """What a batch says of each of its cells while it is painted: now and then, and at each new size."""

    def __init__(self, jobs: Sequence[Job], done: int = 0) -> None:
        self._jobs, self._schedule = jobs, jobs[0].config.schedule
        self._iterations = sum(scale.iterations for scale in self._schedule)
        self._size, self._done, self._at = 0, done, time.monotonic()
        self._next = done

    def report(self, snapshot: Snapshot) -> None:
        """Say how far the cells are, if it is time."""
        done, now = snapshot.iteration + 1, time.monotonic()
        size = self._size_at(snapshot.iteration)
        if done < self._next and now - self._at < SECONDS_A_REPORT and size == self._size:
            return
        rate = (done - self._done) / max(now - self._at, 1e-9)
        speed = f", {rate:.1f} it/s" if self._size else ""
        for job, total in zip(self._jobs, snapshot.losses[-1, :, 0].tolist(), strict=True):
            if math.isfinite(total):
                _tell(job.folder, f"iteration {done}/{self._iterations}, {size} px, loss {total:.5g}{speed}")
        self._size, self._done, self._at = size, done, now
        self._next = done + max(1, self._iterations // STEPS)

    def _size_at(self, iteration: int) -> int:
        for scale in self._schedule:
            if iteration < scale.iterations:
                return scale.size
            iteration -= scale.iterations
        return self._schedule[-1].size


def tell_end(writer: RunWriter) -> None:
    """Say how a run ended, and why."""
    record, folder = writer.record, writer.folder
    if record.status is Status.FINISHED:
        _tell(folder, f"finished: {_results(record)}")
    else:
        level = logging.WARNING if record.status is Status.INTERRUPTED else logging.ERROR
        _tell(folder, f"{record.status.label}: {writer.error or 'ended before it was finished'}", level)


def _results(record: RunRecord) -> str:
    seconds = record.timings.get("painting_seconds", 0.0)
    said = [f"loss {record.total:.5g}"]
    said += [f"{name} {value:.3f}" for name, value in (record.scores or {}).items()]
    return ", ".join([*said, f"{len(record.frames)} frames, {seconds:.1f} s of painting"])
