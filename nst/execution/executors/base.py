"""What every executor offers, and the one that paints in this process."""

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch

from nst.execution.batch import Progress, run_batch
from nst.execution.console import batch_progress
from nst.runs.job import Job, Result

log = logging.getLogger(__name__)

ProgressCallback = Callable[[Progress], None]


class Executor(Protocol):
    """Paints batches somewhere.

    Attributes:
        workers: how many batches it paints at a time, about.
        logs: whether it logs the runs that it paints itself.
    """

    @property
    def workers(self) -> int: ...

    @property
    def logs(self) -> bool: ...

    def check(self, jobs: Sequence[Job]) -> None:
        """Refuse, before anything is begun, what workers could not do; raises NstError."""
        ...

    def paint(self, batches: Sequence[Sequence[Job]], done: int, of: int | None) -> Iterator[list[Result]]:
        """Yield the results of each batch, in any order.

        Args:
            batches: to be painted.
            done: how many cells of the sweep were there before.
            of: how many cells the sweep has, where that is known.
        """
        ...


class InProcessExecutor:
    """This process paints them, one after the other."""

    workers, logs = 1, False

    def check(self, jobs: Sequence[Job]) -> None:
        """Nothing: this process has planned them."""

    def paint(self, batches: Sequence[Sequence[Job]], done: int, of: int | None) -> Iterator[list[Result]]:
        """Yield the results of each batch, in order."""
        for batch in batches:
            yield paint_what_fits(batch, lambda part, before: batch_progress(part, before, of), done)
            done += len(batch)


def paint_what_fits(
    batch: Sequence[Job],
    watching: Callable[[Sequence[Job], int], AbstractContextManager[ProgressCallback]],
    done: int = 0,
) -> list[Result]:
    """Paint a batch, or its halves one after the other where the device has no memory for it.

    Args:
        batch: the jobs.
        watching: given what is painted at a time, and how many cells were done before, what to call.
        done: how many cells were done before.
    """
    try:
        with watching(batch, done) as watch:
            return run_batch(batch, watch)
    except torch.OutOfMemoryError as error:
        log.warning(
            "%d canvases at once need more memory than there is, painting %d (%s)",
            len(batch),
            len(batch) // 2,
            str(error).partition(".")[0],
        )
    gc.collect()  # the exception knew frames, and these the tensors
    torch.cuda.empty_cache()
    half = len(batch) // 2
    first = paint_what_fits(batch[:half], watching, done)
    return [*first, *paint_what_fits(batch[half:], watching, done + half)]
