"""What every executor offers, and the one that paints in this process."""

import gc
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

import torch

from nst.config.film import film_of
from nst.execution.batch import run_batch
from nst.execution.device import estimated_gflop
from nst.execution.film import paint_film
from nst.execution.progress import ProgressCallback, progress_display
from nst.runs.job import Job, Result

log = logging.getLogger(__name__)


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
        """Refuse what workers cannot do, before anything starts; raises NstError."""
        ...

    def paint(self, batches: Sequence[Sequence[Job]]) -> Iterator[list[Result]]:
        """Yield the results of each batch, in any order."""
        ...


class InProcessExecutor:
    """This process paints them, one after the other."""

    workers, logs = 1, False

    def check(self, jobs: Sequence[Job]) -> None:
        """Nothing: this process has planned them."""

    def paint(self, batches: Sequence[Sequence[Job]]) -> Iterator[list[Result]]:
        """Yield the results of each batch, in order."""
        if not batches:
            return
        costs = batch_costs(batches)
        with progress_display(costs) as display:
            for batch, label in zip(batches, costs, strict=True):
                results = paint_what_fits(batch, partial(display.update, label))
                display.finish(label)
                yield results


def batch_labels(batches: Sequence[Sequence[Job]]) -> list[str]:
    """What people call the batches: their numbers and cells; a single cell by what sets it apart."""
    if len(batches) == 1 and len(batches[0]) == 1:
        return [batches[0][0].name]
    return [
        f"batch {number} of {len(batches)}, {len(batch)} cell{'s' if len(batch) > 1 else ''}"
        for number, batch in enumerate(batches, 1)
    ]


def batch_costs(batches: Sequence[Sequence[Job]]) -> dict[str, float]:
    """The batches' labels, each with the arithmetic that it takes."""
    costs = [sum(estimated_gflop(job.config) for job in batch) for batch in batches]
    return dict(zip(batch_labels(batches), costs, strict=True))


def paint_what_fits(batch: Sequence[Job], watch: ProgressCallback) -> list[Result]:
    """Paint a batch, or its halves one after the other where the device has no memory for it.

    Args:
        batch: the jobs.
        watch: called now and then with the progress of what is painted at a time.
    """
    if film_of(batch[0].config):
        return [paint_film(batch[0], watch, paint_what_fits)]
    try:
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
    return [*paint_what_fits(batch[:half], watch), *paint_what_fits(batch[half:], watch)]
