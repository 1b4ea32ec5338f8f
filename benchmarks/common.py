"""What the benchmarks share: the cells of the README's defaults, fair timing, tables that say where."""

import argparse
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nst.config.paths import ROOT
from nst.core.cell import Cell
from nst.core.engine import Engine, Snapshot
from nst.core.init_images import noise
from nst.core.objective import Objective
from nst.core.optimizers import Optimizer
from nst.core.optimizers.adam import Adam
from nst.core.optimizers.lbfgs import LBFGS
from nst.core.precision import DTYPES
from nst.core.vgg import VGG
from nst.io import weights as pretrained
from nst.io.files import atomic_write
from nst.io.images import read

MODEL = "vgg19"  # with random weights: the time does not depend on what they have seen
STYLE_LAYERS = {
    "conv1_1": 3.90625,
    "conv2_1": 0.9765625,
    "conv3_1": 0.06103515625,
    "conv4_1": 0.0152587890625,
    "conv5_1": 0.003814697265625,
}

Work = Callable[[], object]


def default_cell(size: int) -> Cell:
    """The README's default cell: its images, content layer conv1_1, all five style layers."""
    images = [read(ROOT / "data" / name, size, "images") for name in ("pagoda.jpg", "starry_night.jpg")]
    return Cell(images[0], (images[1],), {"conv1_1": 1.0}, STYLE_LAYERS, "relu", 5.0, 7000.0, 1.2)


def canvases(size: int, rows: int) -> Tensor:
    """Noise to start from, `[rows, 3, size, size]`, each row with a seed of its own."""
    return torch.stack([noise((size, size), seed) for seed in range(rows)])


def frames(stream: Iterator[Snapshot]) -> Iterator[Snapshot]:
    """The snapshots that an engine yields at its save points: they come whatever time it is."""
    return (snapshot for snapshot in stream if snapshot.canvas is not None)


def weights() -> dict[str, Tensor]:
    """The convolutions of `MODEL`."""
    return pretrained.load_weights(MODEL, "random").tensors


def objective(size: int, rows: int, device: torch.device, precision: str) -> Objective:
    """`rows` default cells as one function."""
    cell = default_cell(size)
    network = VGG(MODEL, weights(), cell.taps(), device=device, dtype=DTYPES[precision])
    return Objective(network, [cell] * rows)


def optimizer_of(name: str, rows: int, device: torch.device) -> Optimizer[Any]:
    """`adam` or `lbfgs` with the README's learning rate."""
    lr = torch.full((rows,), 0.06 if name == "adam" else 1.0, device=device)
    return Adam(lr) if name == "adam" else LBFGS(lr)


def painting(engine: Engine, iterations: int, every: int, most: int) -> Work:
    """The engine's next `iterations`, with a frame `every` so many, of `most` in all.

    On CUDA snapshots are on their way when one arrives, and how many iterations these are changes: so it says
    which multiple of `iterations` it has done.
    """
    stream = frames(engine.paint(most, every))

    def work() -> float:
        before = engine.done
        for _ in range(iterations // every):
            next(stream)
        return (engine.done - before) / iterations

    return work


def timed(work: Work, device: torch.device) -> float:
    """Seconds that `work` takes, to the end of all it has started on the device.

    If it returns a float, that is how often it has done what it was to do, and the time is that of once.
    """
    _synchronize(device)
    started = time.perf_counter()
    times = work()
    _synchronize(device)
    taken = time.perf_counter() - started
    return taken / times if isinstance(times, float) else taken


def fastest(contestants: Mapping[str, Work], device: torch.device, repeats: int) -> dict[str, float]:
    """The least seconds that each contestant takes in `repeats` rounds.

    They take turns, so that what else the machine does falls on all alike; the round before is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats + 1):
        for name, work in contestants.items():
            times[name].append(timed(work, device))
    return {name: min(taken[1:]) for name, taken in times.items()}


def repeated(work: Work, times: int, device: torch.device) -> Work:
    """`work` done `times` times; on CUDA in a graph, so that it is the device that is timed.

    The engine replays a graph as well: what a launch costs the host is in neither.
    """

    def eagerly() -> None:
        for _ in range(times):
            work()

    if device.type == "cpu":
        return eagerly
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        eagerly()
    return graph.replay


def check_sane(name: str, tensor: Tensor) -> None:
    """Stop where a computation went wrong: NaN and denormals have speeds of their own."""
    size = tensor.abs()
    denormal = ((size > 0) & (size < torch.finfo(tensor.dtype).tiny)).float().mean()
    if not tensor.isfinite().all() or denormal > 0.001:
        raise SystemExit(f"{name}: {denormal:.1%} denormal, largest {size.max()}; not worth timing")


@dataclass
class Table:
    """Columns and rows of text, as Markdown."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)

    def add(self, *values: str | int | float) -> None:
        """Append a row; floats with three significant digits or more."""
        self.rows.append([_figure(v) if isinstance(v, float) else str(v) for v in values])

    def __str__(self) -> str:
        widths = [max(len(row[i]) for row in [self.columns, *self.rows]) for i in range(len(self.columns))]
        lines = [self.columns, ["-" * (width - 1) + ":" for width in widths], *self.rows]
        return f"## {self.title}\n\n" + "\n".join(
            "| " + " | ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) + " |"
            for row in lines
        )


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with what every script understands."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--repeats", type=int, default=5, help="rounds, of which the best counts")
    parser.add_argument("--out", type=Path, help="file that gets the tables too")
    return parser


def device_of(name: str) -> torch.device:
    """The device that `auto` means, or the one named."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def machine(device: torch.device) -> str:
    """The model of what computes."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def publish(title: str, tables: list[Table], device: torch.device, out: Path | None) -> None:
    """Print tables below a heading that says what was measured where, and write them to `out`."""
    module = sys.modules["__main__"].__spec__
    name = f"-m {module.name}" if module else sys.argv[0]
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    facts = {
        "Machine": f"{machine(device)} ({device.type}); {cores}",
        "Versions": f"torch {torch.__version__}, Python {platform.python_version()}",
        "Commit": _commit(),
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Command": f"`python {name} {shlex.join(sys.argv[1:])}`".replace(" `", "`"),
    }
    heading = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    text = "\n\n".join([f"# {title}", heading, *map(str, tables)]) + "\n"
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(out) as temporary:
            temporary.write_text(text)


def _figure(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*", "--abbrev=40"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
