"""One unit of work: jobs that share a step, painted together, each into its own run directory."""

import logging
import math
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path

import torch

from nst.config.paths import ROOT
from nst.core import networks
from nst.core.cell import Cell
from nst.core.init_images import Picture
from nst.core.memory import is_out_of_memory
from nst.core.network import Tap
from nst.core.painter import Painter
from nst.core.precision import DTYPES, arithmetic
from nst.core.streams import current_device
from nst.errors import NstError
from nst.execution.device import costs, device_name, device_of, gflop, recomputes
from nst.execution.progress import BatchProgress, ProgressCallback
from nst.execution.resolve import ResolvedCell, resolve
from nst.execution.run_log import Reports, logged_to, tell_end, tell_start, warn_once
from nst.io.segmented_video import SegmentedVideo
from nst.io.signals import defer_signals, raise_pending, stop_requested
from nst.io.weights import load_scorer
from nst.report.build import draw_losses
from nst.report.drawing import draw_each
from nst.runs.checkpoint import CheckpointDirectory, CheckpointManager
from nst.runs.job import Job, Result
from nst.runs.record import Machine, Model, RunRecord, Status
from nst.runs.writer import RunWriter, SnapshotWriter, record_failure

log = logging.getLogger(__name__)


def run_batch(jobs: Sequence[Job], watch: ProgressCallback = lambda progress: None) -> list[Result]:
    """Paint `jobs` as the rows of one batch and write their run directories.

    Args:
        jobs: of one of `nst.runs.job.batches`' groups.
        watch: called now and then while it paints.

    Returns:
        A result a job, in order. What is wrong with one job, an image that cannot be read or a loss
        that is no number any more, fails that job alone; what is wrong with all fails all.

    Raises:
        torch.OutOfMemoryError: the device, or the host if it paints there, has no memory for several.
        Interrupted: by a signal; a checkpoint is kept, from which it can be resumed.
    """
    rows = [Row(job, RunWriter(job.folder, new_record(job), job.config.canvas_format)) for job in jobs]
    losses: dict[Path, float] = {}
    for row in rows:
        with record_failure(row.writer):
            row.writer.begin()
    with logged_to([row.job.folder for row in _well(rows)]):
        try:
            for row in _well(rows):
                with record_failure(row.writer):
                    prepare(row)
            if ready := _well(rows):
                losses = _paint(ready, watch)
        except BaseException as error:
            reason = _close(rows, error)
            if isinstance(reason, torch.OutOfMemoryError) or not isinstance(reason, Exception):
                raise reason from None
        finally:
            for row in rows:
                tell_end(row.writer)
    return [
        Result(
            row.job.folder,
            row.job.name,
            losses.get(row.job.folder, math.nan),
            row.writer.error,
            status=row.writer.status,
        )
        for row in rows
    ]


@dataclass
class Row:
    """A job on its way through a batch."""

    job: Job
    writer: RunWriter
    resolved: ResolvedCell = field(init=False)


def _close(rows: Sequence[Row], error: BaseException) -> BaseException:
    """Close the runs that `error` ended; returns the reason, which is raised if others have to know.

    That is a `torch.OutOfMemoryError` where fewer rows might have fitted.
    """
    reason = _out_of_memory(error) or error
    if isinstance(reason, torch.OutOfMemoryError) and len(rows) == 1:
        size = rows[0].job.config.size
        reason = NstError(f"size={size}: out of memory on the device; give a smaller size")
    for row in _well(rows):
        if row.writer.status is Status.RUNNING:
            row.writer.fail(reason)
    return reason


def _well(rows: Sequence[Row]) -> list[Row]:
    """Those that have not failed yet."""
    return [row for row in rows if row.writer.error is None]


def _out_of_memory(error: BaseException) -> torch.OutOfMemoryError | None:
    """`error` if it is that, by one name."""
    if isinstance(error, torch.OutOfMemoryError):
        return error
    return torch.OutOfMemoryError(str(error)) if is_out_of_memory(error) else None


def prepare(row: Row) -> None:
    """Give a row its cell; raises NstError where its images, weights or layers are not available."""
    config = row.job.config
    row.resolved = resolve(config)
    for key, digest in (row.job.digests or {}).items():
        if row.resolved.digests.get(key) != digest:
            name = key.partition("[")[0]
            raise NstError(
                f"{name}={attrgetter(name)(config)}: is another picture than when this was planned; run "
                "the same command again, which paints the new one"
            )
    weights = row.resolved.weights
    model = Model(name=weights.name, asked=config.model.name, weights=weights.sha256, source=weights.source)
    row.writer.record = replace(row.writer.record, identity=row.resolved.identity, model=model)


def _paint(rows: Sequence[Row], watch: ProgressCallback) -> dict[Path, float]:
    """Paint prepared rows; returns the final total loss of those that finished."""
    checkpoints = CheckpointDirectory(
        Path(rows[0].job.config.outputs), [row.resolved.identity for row in rows]
    )
    config = rows[0].job.config
    with (
        defer_signals(),
        checkpoints.held(),
        current_device(device_of(config)),
        arithmetic(config.hardware.precision.name),
    ):
        try:
            return _paint_at(checkpoints, rows, watch)
        except BaseException as error:
            _close(rows, error)  # while the videos so far are there
            raise


def _paint_at(
    checkpoints: CheckpointDirectory, rows: Sequence[Row], watch: ProgressCallback
) -> dict[Path, float]:
    started = time.perf_counter()
    configs = [row.job.config for row in rows]
    config, network = configs[0], rows[0].resolved.weights.name
    device, writers = device_of(config), [row.writer for row in rows]
    painter = _painter(rows, device)
    tell_start([row.job for row in rows], [row.resolved for row in rows])
    saved = checkpoints.load(painter) if config.resume else None
    if saved is None:
        checkpoints.clear()
    else:
        painter.restore(saved.tensors, saved.done)
        log.info("going on from iteration %d", saved.done)
    for number, row in enumerate(rows):
        segments = saved.segments[number] if saved else ()
        video = SegmentedVideo(checkpoints.folder, str(number), row.job.config.fps, painter.shape, segments)
        with record_failure(row.writer):
            init = row.resolved.init
            if isinstance(init, Picture):
                row.writer.keep("init.png", init.image)
            columns, alpha = painter.engine.objective.columns, row.resolved.alpha
            row.writer.start(row.resolved.cell, columns, video, alpha, painter.iterations)
    snapshot_writer, ready = SnapshotWriter(writers), time.perf_counter()
    if saved is not None:
        snapshot_writer.resume(saved.losses, saved.frames, saved.diverged)
    manager = CheckpointManager(
        checkpoints, painter, snapshot_writer, writers, config.hardware.checkpoint, saved
    )
    scales, reports = costs(network, configs), Reports([row.job for row in rows], saved.done if saved else 0)
    with snapshot_writer.writing():
        for snapshot in painter.paint(config.save_every):
            latest = snapshot.losses[-1, :, 0].tolist()
            watch(BatchProgress.of(snapshot.iteration + 1, scales, latest))
            reports.report(snapshot)
            if not snapshot_writer.submit(snapshot):
                break
            # After the last there is nothing to resume.
            if snapshot.iteration + 1 < painter.iterations and manager.maybe_save(
                snapshot, now=stop_requested()
            ):
                raise_pending()
        painted, painting = time.perf_counter(), manager.seconds
    timings = {
        "setup_seconds": ready - started,
        "capture_seconds": painter.capture_seconds,
        "painting_seconds": painting,
        "iterations_per_second": painter.iterations / painting,
        "gflops": gflop(network, configs) / painting,
        "batch_cells": len(rows),
        "batch_seconds": ready - started + painting,
        "batch_seconds_per_cell": (ready - started + painting) / len(rows),
    }
    del painter, manager, saved  # beside the history of a large canvas there may be no room to score it
    for row in _well(rows):
        with record_failure(row.writer):
            row.writer.close_files()
    finished = _well(rows)
    # What was not hidden behind the painting.
    timings["writing_seconds"] = time.perf_counter() - painted
    curves = draw_each(draw_losses, [row.job.folder for row in finished])
    scores = _scores(finished, device)
    losses = {}
    name = device_name(device)
    for row, score, drawn in zip(finished, scores, curves, strict=True):
        with record_failure(row.writer):
            drawn.result()
            losses[row.job.folder] = row.writer.finish(device=name, timings=timings, scores=score)
    return losses


def _scores(rows: Sequence[Row], device: torch.device) -> list[dict[str, float]]:
    """How far each canvas is from its images; nothing, and one warning, where that cannot be told."""
    cells = [row.resolved.cell for row in rows]
    try:
        found = load_scorer(device).score(
            [row.writer.canvas for row in rows],
            [cell.content for cell in cells],
            [list(zip(cell.styles, cell.blend, strict=True)) for cell in cells],
        )
    except NstError as error:
        warn_once(f"canvases are not scored: {error}")
        return [{}] * len(rows)
    return [asdict(score) for score in found]


def _painter(rows: Sequence[Row], device: torch.device) -> Painter:
    """Network, optimizer and canvases of a batch, from scale to scale."""
    configs, cells = [row.job.config for row in rows], [row.resolved.cell for row in rows]
    config, weights = configs[0], rows[0].resolved.weights
    network = networks.build(
        weights.name,
        weights.tensors,
        set[Tap]().union(*(cell.taps() for cell in cells)),
        normalize=config.model.normalize,
        pooling=config.model.pooling.name,
        padding=config.model.padding.name,
        recompute=recomputes(configs),
        device=device,
        dtype=DTYPES[config.hardware.precision.name],
    )

    def start(cells: Sequence[Cell]) -> torch.Tensor:
        return torch.stack(
            [
                cell.color.encode(row.resolved.init.canvas(cell.content, cell.styles[0], row.job.config.seed))
                for row, cell in zip(rows, cells, strict=True)
            ]
        )

    options = [config.optimizer for config in configs]
    return Painter(network, cells, options, config.schedule, start, capture=config.hardware.capture)


def new_record(job: Job) -> RunRecord:
    """The record of a run that begins."""
    scales = job.config.schedule
    return RunRecord(
        name=job.name,
        precision=job.config.hardware.precision.name,
        lr=job.config.optimizer.lr,
        fps=job.config.fps,
        scales={str(scale.size): scale.iterations for scale in scales} if len(scales) > 1 else {},
        versions=_versions(),
        machine=Machine(
            instructions=torch.backends.cpu.get_cpu_capability(), threads=torch.get_num_threads()
        ),
        git=_commit(),
    )


@cache
def _versions() -> dict[str, str]:
    names = ("torch", "torchvision", "hydra-core", "mlflow", "numpy", "pillow")
    return {name: version(name) for name in names}


@cache
def _commit() -> str | None:
    if not (ROOT / ".git").exists():  # a package may be installed inside of another repository
        return None
    try:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
