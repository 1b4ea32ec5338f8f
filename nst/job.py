"""What Hydra calls for one job: from its composed config to its result."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from nst.batch import Result, most_rows, run_batch
from nst.config import from_composed
from nst.errors import NstError
from nst.logbook import logbook
from nst.progress import shown, summarize
from nst.recorder import Recorder
from nst.sweep import Job, batches

log = logging.getLogger(__name__)

# Groups of which a cell has one option.
SINGLE = ("model", "optimizer", "init_image", "weights", "images", "tracking", "hardware")


def job_of(composed: DictConfig) -> Job:
    """The job that Hydra has set up; raises NstError where its config cannot be painted."""
    hydra = HydraConfig.get()
    for group in SINGLE:
        # Hydra merges several options of any group, and then names no choice; only layers are meant so.
        if group not in hydra.runtime.choices:
            raise NstError(f"{group}=[...]: takes one option; give one, or sweep over them: -m {group}=A,B")
    folder = Path(hydra.runtime.output_dir).resolve()
    return Job(from_composed(composed), folder, _telling(hydra.overrides.task))


def paint(composed: DictConfig) -> float:
    """Paint one job on its own; returns its final total loss.

    Raises:
        NstError: outside a sweep, what is wrong with it. In a sweep that is left in `run.json`, the loss
            is NaN, and the other jobs go on.
    """
    hydra = HydraConfig.get()
    sweeping = hydra.mode is RunMode.MULTIRUN
    try:
        job = job_of(composed)
    except NstError as error:
        if not sweeping:
            raise
        folder = Path(hydra.runtime.output_dir).resolve()
        name = " ".join(_telling(hydra.overrides.task))
        Recorder(folder, {"name": name}).fail(error)
        return math.nan
    book, began = logbook(job.config.tracking), time.monotonic()
    with shown([job], hydra.job.num if sweeping else 0, None if sweeping else 1) as watch:
        [result] = run_batch([job], watch)
    if book:
        book.log(job.folder)
        book.wait()
    if not sweeping:
        if result.error is not None:
            raise NstError(result.error)
        where = [f"folder  {job.folder}", *([book.where(job.folder)] if book else [])]
        summarize([result], time.monotonic() - began, where)
    return result.loss


def paint_together(jobs: Sequence[Job], first: int = 0) -> list[Result]:
    """Paint the jobs of a sweep in batches; returns a result each, in order.

    While one batch is painted, the runs of the one before are logged.

    Args:
        jobs: all that the sweeper asks for at a time.
        first: how many it asked for before.
    """
    jobs = _named_by_what_varies(jobs)
    book, results = logbook(jobs[0].config.tracking), dict[Path, Result]()
    if book:
        book.begin(jobs[0].folder.parent)
    for batch in batches(jobs, most_rows):
        for result in _paint_what_fits(batch, first + len(results), first + len(jobs)):
            results[result.folder] = result
            if book:
                book.log(result.folder)
    return [results[job.folder] for job in jobs]


def _paint_what_fits(batch: Sequence[Job], done: int, of: int) -> list[Result]:
    """Paint a batch, or its halves one after the other where the device has no memory for it."""
    try:
        with shown(batch, done, of) as watch:
            return run_batch(batch, watch)
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            reason = f"size={batch[0].config.size}: out of memory on the device; give a smaller size"
            return [Result(batch[0].folder, batch[0].name, math.nan, reason)]
        torch.cuda.empty_cache()
        log.warning(
            "%d canvases at once need more memory than there is, painting %d (%s)",
            len(batch),
            len(batch) // 2,
            str(error).partition(".")[0],
        )
    half = len(batch) // 2
    first = _paint_what_fits(batch[:half], done, of)
    return [*first, *_paint_what_fits(batch[half:], done + half, of)]


def _telling(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that can tell one cell from another: the preset is what they have in common."""
    return tuple(override for override in overrides if not override.startswith("experiment="))


def _named_by_what_varies(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs, without the overrides that all of them have; a single job keeps its own."""
    if len(jobs) == 1:
        return list(jobs)
    common = set.intersection(*(set(job.overrides) for job in jobs))
    return [
        replace(job, overrides=tuple(part for part in job.overrides if part not in common)) for job in jobs
    ]
