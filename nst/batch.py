"""One unit of work: jobs that share a step, painted together, each into its own run directory."""

import logging
import math
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from nst import pretrained
from nst.config import ROOT, Config, check_layers, content_layers, style_layers
from nst.engine import DTYPES, Engine, arithmetic
from nst.errors import NstError
from nst.images import noise, read
from nst.objective import Cell, Objective
from nst.optimizers import Optimizer
from nst.optimizers.adam import Adam
from nst.optimizers.lbfgs import LBFGS
from nst.recorder import Recorder, Scribe
from nst.sweep import Job, identity
from nst.vgg import VGG, Tap, activation_bytes

log = logging.getLogger(__name__)

HISTORY = 100  # secant pairs of L-BFGS, torch's default


@dataclass(frozen=True)
class Progress:
    """How far a batch is."""

    iteration: int
    iterations: int
    losses: list[float]  # the total of each job, in order


@dataclass(frozen=True)
class Result:
    """What became of a job: its final total loss, or why there is none (then it is NaN)."""

    folder: Path
    name: str
    loss: float
    error: str | None


def run_batch(jobs: Sequence[Job], watch: Callable[[Progress], None] = lambda progress: None) -> list[Result]:
    """Paint `jobs` as the rows of one batch and write their run directories.

    Args:
        jobs: of one of `nst.sweep.batches`' groups.
        watch: called now and then while it paints.

    Returns:
        A result a job, in order. What is wrong with one job, an image that cannot be read or a loss
        that is no number any more, fails that job alone.
    """
    with logged_to([job.folder for job in jobs]):
        rows = [_Row(job, Recorder(job.folder, _record(job))) for job in jobs]
        losses: dict[Path, float] = {}
        try:
            for row in rows:
                _prepare(row)
            ready = [row for row in rows if row.recorder.error is None]
            if ready:
                losses = _paint(ready, watch)
        except BaseException as error:
            for row in rows:
                if row.recorder.record["status"] == "running":
                    row.recorder.fail(error)
            if not isinstance(error, NstError):
                raise
    return [
        Result(row.job.folder, row.job.name, losses.get(row.job.folder, math.nan), row.recorder.error)
        for row in rows
    ]


@dataclass
class _Row:
    """A job on its way through a batch."""

    job: Job
    recorder: Recorder
    cell: Cell = field(init=False)


@contextmanager
def logged_to(folders: Sequence[Path]) -> Iterator[None]:
    """Let each folder's `nst.log` have what is logged inside."""
    with ExitStack() as stack:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(folder / "nst.log")
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            logging.getLogger().addHandler(handler)
            stack.callback(handler.close)
            stack.callback(logging.getLogger().removeHandler, handler)
        yield


def _prepare(row: _Row) -> None:
    """Give a row its cell; where its images, weights or layers are not to be had, it fails alone."""
    try:
        row.cell, known = _cell(row.job.config)
        row.recorder.record |= known
    except NstError as error:
        row.recorder.fail(error)


def _cell(config: Config) -> tuple[Cell, dict[str, Any]]:
    """The cell that a config describes, and what `run.json` says of it."""
    most_rows([config])  # before the images: they are as large as the canvas
    content = _image(config.images.content, config.size, "images.content")
    style = _image(config.images.style, config.size, "images.style")
    weights = _weights(config)
    check_layers(config, weights.name)
    model = {
        "name": weights.name,
        "asked": config.model.name.name,
        "weights": weights.sha256,
        "source": weights.source,
    }
    cell = Cell(
        content,
        style,
        dict.fromkeys(content_layers(config), 1.0),
        style_layers(config),
        config.activation.name,
        config.weights.content if config.uses_content else 0.0,
        config.weights.style if config.uses_style else 0.0,
        config.weights.tv,
    )
    return cell, {"identity": identity(config, content, style, weights.sha256), "model": model}


def _paint(rows: Sequence[_Row], watch: Callable[[Progress], None]) -> dict[Path, float]:
    """Paint prepared rows; returns the final total loss of those that finished."""
    started = time.perf_counter()
    config = rows[0].job.config
    device = device_of(config)
    with arithmetic(config.hardware.precision.name):
        engine = _engine(rows, device)
        for row in rows:
            row.recorder.start(row.cell, engine.objective.columns, row.job.config.fps)
        scribe, ready = Scribe([row.recorder for row in rows]), time.perf_counter()
        with scribe.writing():
            for snapshot in engine.paint(config.iterations, config.save_every):
                latest = snapshot.losses[-1, :, 0].tolist()
                watch(Progress(snapshot.iteration + 1, config.iterations, latest))
                if not scribe.hand_over(snapshot):
                    break
            painted = time.perf_counter()
    timings = {
        "setup_seconds": ready - started,
        "capture_seconds": engine.capture_seconds,
        "painting_seconds": painted - ready,
        "iterations_per_second": config.iterations / (painted - ready),
        "batch_cells": len(rows),
        "batch_seconds": painted - started,
        "batch_seconds_per_cell": (painted - started) / len(rows),
    }
    losses = {}
    for row in rows:
        if row.recorder.error is None:
            # What was not hidden behind the painting.
            timings["writing_seconds"] = time.perf_counter() - painted
            try:
                losses[row.job.folder] = row.recorder.finish(device=device_name(device), timings=timings)
            except (OSError, NstError) as error:
                row.recorder.fail(error)
    return losses


def _engine(rows: Sequence[_Row], device: torch.device) -> Engine:
    """Network, objective, optimizer and canvases of a batch."""
    jobs, cells = [row.job for row in rows], [row.cell for row in rows]
    config, weights = jobs[0].config, _weights(jobs[0].config)
    network = VGG(
        weights.name,
        weights.tensors,
        set[Tap]().union(*(cell.taps() for cell in cells)),
        normalize=config.model.normalize,
        device=device,
        dtype=DTYPES[config.hardware.precision.name],
    )
    canvas = torch.stack([_initial(job.config, cell) for job, cell in zip(jobs, cells, strict=True)])
    optimizer = _optimizer(jobs, network)
    return Engine(Objective(network, cells), optimizer, canvas, capture=config.hardware.capture)


def _optimizer(jobs: Sequence[Job], network: VGG) -> Optimizer[Any]:
    rates = [job.config.optimizer.lr for job in jobs]
    lr = torch.tensor(rates, dtype=network.wide, device=network.device)
    return Adam(lr) if jobs[0].config.optimizer.name.name == "adam" else LBFGS(lr, HISTORY)


def _initial(config: Config, cell: Cell) -> Tensor:
    match config.init_image.name.name:
        case "content":
            return cell.content
        case "style":
            return cell.style
        case _:
            return noise(config.size, config.seed)


def device_of(config: Config) -> torch.device:
    """Where to paint; raises NstError where there is no such device."""
    wanted = config.hardware.device
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise NstError(
            f"hardware.device={wanted}: this machine has {torch.cuda.device_count()} CUDA devices; "
            "give another, or auto"
        )
    return device


def device_name(device: torch.device) -> str:
    """What people call it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def most_rows(configs: Sequence[Config]) -> int:
    """How many rows a batch of such cells may have: `hardware.max_batch`, or what fits in memory.

    Raises:
        NstError: not even one fits.
    """
    config, device = configs[0], device_of(configs[0])
    free = psutil.virtual_memory().available
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    row = max(map(_row_bytes, configs))
    if row > free:
        raise NstError(
            f"size={config.size}: one canvas needs about {row / 2**30:.1f} GiB with "
            f"optimizer={config.optimizer.name.name}, and {free / 2**30:.1f} GiB are free on {device}; "
            "give a smaller size"
        )
    fitting = max(1, int(0.8 * free / row))  # the estimate leaves out what the libraries take
    wanted = config.hardware.max_batch
    return fitting if wanted == "auto" else int(wanted)


def _row_bytes(config: Config) -> int:
    """Memory that one row of a batch takes, about."""
    wide = 8 if config.hardware.precision.name == "fp64" else 4
    narrow = 2 if config.hardware.precision.name == "bf16" else wide
    # Vectors like the canvas: the optimizer's, and a few that come and go in each step.
    canvases = 8 + (2 * (HISTORY + 1) if config.optimizer.name.name == "lbfgs" else 2)
    layers = {*content_layers(config), *style_layers(config)}
    activations = activation_bytes(config.model.name.name, layers, config.size, narrow)
    return activations + canvases * 3 * config.size**2 * wide


def _weights(config: Config) -> pretrained.Weights:
    fallback = config.model.fallback.name if config.model.fallback else None
    return pretrained.load(config.model.name.name, config.model.weights, fallback=fallback)


def _image(path: str, size: int, key: str) -> Tensor:
    found = Path(path).expanduser()
    changed = found.stat().st_mtime_ns if found.exists() else 0
    return _read_once(found, size, key, changed)


@lru_cache(maxsize=64)
def _read_once(path: Path, size: int, key: str, changed: int) -> Tensor:
    """One tensor an image, so that cells share its features; `changed` makes an edited file anew."""
    return read(path, size, key)


def _record(job: Job) -> dict[str, Any]:
    return {
        "name": job.name,
        "device": None,
        "precision": job.config.hardware.precision.name,
        "lr": job.config.optimizer.lr,
        "versions": _versions(),
        "git": _commit(),
    }


@cache
def _versions() -> dict[str, str]:
    names = ("torch", "torchvision", "hydra-core", "mlflow", "numpy", "pillow")
    return {name: version(name) for name in names}


@cache
def _commit() -> str | None:
    try:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
