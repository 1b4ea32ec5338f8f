"""What a sweep will paint, what it need not, and in which batches."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nst.config.film import frames_cost
from nst.config.schema import Config
from nst.errors import NstError
from nst.execution.device import device_name, device_of, estimated_gflop, gflop, most_rows
from nst.execution.output_dir import skipped_dirs
from nst.execution.resolve import network_of, resolve
from nst.io.canvas_format import CanvasFormat
from nst.runs.checkpoint import checkpointed_batches
from nst.runs.index import RunIndex
from nst.runs.job import Job, group_batches
from nst.runs.record import SweepRecord


@dataclass(frozen=True)
class Plan:
    """Every job is in a batch, done, or shared; the last two are keyed by their folders."""

    jobs: Sequence[Job]
    batches: list[list[Job]]  # to be painted
    done: dict[Path, Path]  # painted before: the run directory it was painted in
    shared: dict[Path, Path]  # painted as another of these jobs: the folder of that one
    identities: dict[Path, str]  # of the jobs that can be resolved
    index: RunIndex

    def seconds(self) -> tuple[float, int]:
        """About how long the painting takes, by how many earlier runs; NaN if there are none.

        Of each batch the arithmetic is known, and of earlier runs on the same device the speed.
        """
        total, fewest = 0.0, 0
        for batch in self.batches:
            config = batch[0].config
            device = device_name(device_of(config))
            speed, runs = self.index.speed(device, config.hardware.precision.name)
            model = network_of(config) or config.model.name
            total += gflop(model, [job.config for job in batch]) * frames_cost(config) / speed
            fewest = min(fewest or runs, runs)
        return total, fewest


def plan(jobs: Sequence[Job], workers: int = 1, index: RunIndex | None = None) -> Plan:
    """Look up which of `jobs` were painted before, and group the others.

    A job is looked for in its own folder, in its sweep and below `outputs`, unless `resume=false`.
    Of jobs with the same identity one is painted. One that cannot be resolved is left to be painted,
    so that it fails as any other does.

    Args:
        jobs: in any order.
        workers: that paint them.
        index: of the runs that may be taken, if it was made before.

    Raises:
        NstError: a canvas of that size does not fit in memory.
    """
    index = index or RunIndex(folder for job in jobs for folder in _places(job))
    painted, done, shared = dict[str, Path](), dict[Path, Path](), dict[Path, Path]()
    left, begun, identities = list[Job](), dict[str, Job](), dict[Path, str]()
    # Of cells that are the same one is painted: one that wants more than 8 bits, if there is any.
    for job in sorted(jobs, key=lambda job: job.config.canvas_format is not CanvasFormat.tiff16):
        try:
            resolved = resolve(job.config)
        except NstError:
            identity = None
        else:
            identity, job = resolved.identity, replace(job, digests=resolved.digests)
        if identity is not None:
            identities[job.folder] = identity
            source = index.find(identity, job.folder, job.config.canvas_format) if job.config.resume else None
            if source is not None:
                done[job.folder] = source
                continue
            first = painted.setdefault(identity, job.folder)
            if first != job.folder:
                shared[job.folder] = first
                continue
            if job.config.resume:
                begun[identity] = job
        left.append(job)
    going_on = _begun(Path(jobs[0].config.outputs), begun)
    known = {job.folder for batch in going_on for job in batch}
    new = [job for job in left if job.folder not in known]
    return Plan(jobs, [*going_on, *cut(new, workers, most_rows)], done, shared, identities, index)


def cut(jobs: Sequence[Job], workers: int, most_rows: Callable[[Sequence[Config]], int]) -> list[list[Job]]:
    """Group jobs that can share a step, for so many workers.

    The batches are no larger than what lets all workers be done at about the same time.
    """
    if workers == 1:
        return group_batches(jobs, most_rows)
    rounds = math.ceil(len(group_batches(jobs, most_rows)) / workers)
    share = sum(estimated_gflop(job.config) for job in jobs) / (workers * rounds or 1)
    return group_batches(
        jobs, lambda some: min(most_rows(some), math.ceil(share / max(map(estimated_gflop, some))))
    )


def _begun(outputs: Path, jobs: dict[str, Job]) -> list[list[Job]]:
    """The batches of which there are checkpoints, without the cells that are no longer wanted.

    The fullest come first, because a cell may be in several.
    """
    kept = [[identity for identity in cells if identity in jobs] for cells in checkpointed_batches(outputs)]
    batches = []
    for wanted in sorted(kept, key=len, reverse=True):
        if batch := [jobs.pop(identity) for identity in wanted if identity in jobs]:
            batches.append(batch)
    return batches


def _places(job: Job) -> list[Path]:
    sweep = job.folder.parent
    own = sweep if (sweep / SweepRecord.NAME).is_file() else job.folder
    return [Path(job.config.outputs), own, *skipped_dirs(job.folder)]
