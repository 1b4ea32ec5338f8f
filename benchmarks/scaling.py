"""10,000 cells on 1, 8 and 64 workers: a simulation of the planner, fed with costs measured here.

Measured: setting a batch up, capturing its step (on CUDA), an iteration by batch size, and what the launcher
does alone for each cell: planning it before anything is painted, its place in sheet and page afterwards.
Each worker is such a device as this runs on, and, as a what-if, one whose iterations are `--faster` times as
fast. What a cell costs the tracking server is given, from `benchmarks.tracking`.
"""

import heapq
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from benchmarks.common import Table, arguments, device_of, publish
from nst.config.composed import from_composed
from nst.config.paths import ROOT
from nst.config.schema import Config, register
from nst.execution.batch import run_batch
from nst.execution.plan import cut
from nst.report.build import rebuild
from nst.runs.job import Job
from nst.runs.record import RunRecord

LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
OPTIMIZERS = ("adam", "lbfgs")


@dataclass(frozen=True)
class Line:
    """What something costs by the size of a batch: `base + slope * B` seconds, fitted to measurements."""

    base: float
    slope: float

    @classmethod
    def fit(cls, sizes: Sequence[int], seconds: Sequence[float]) -> "Line":
        slope, base = np.polyfit(sizes, seconds, 1)
        return cls(max(float(base), 0.0), max(float(slope), 0.0))

    def faster(self, times: float) -> "Line":
        """The same, `times` as fast."""
        return Line(self.base / times, self.slope / times)

    def __call__(self, size: int) -> float:
        return self.base + self.slope * size


@dataclass(frozen=True)
class Costs:
    """Of one optimizer on one device."""

    setup: Line
    iteration: Line


@dataclass(frozen=True)
class Server:
    """What logging a cell takes: for the one who logs it, and at least for all who do."""

    seconds: float
    cells_a_second: float
    requests: int
    megabytes: float


def config(*overrides: str) -> Config:
    """A cell's config, as a command would compose it."""
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return from_composed(compose("config", ["model.weights=random", "tracking=none", *overrides]))


def measure(optimizer: str, size: int, sizes: Sequence[int], few: int, device: torch.device) -> Costs:
    """Paint batches of some sizes for a few iterations."""
    base = config(f"optimizer={optimizer}", f"size={size}", f"iterations={few}", f"hardware.device={device}")
    setups, iterations = [], []
    for rows in [sizes[0], *sizes]:  # the first is not counted: it loads the network
        with tempfile.TemporaryDirectory() as folder:
            jobs = [
                Job(replace(base, seed=seed, outputs=folder), Path(folder, str(seed)), (f"seed={seed}",))
                for seed in range(rows)
            ]
            for result in run_batch(jobs):
                if result.error:
                    raise SystemExit(result.error)
            timings = timings_of(jobs[0])
        captured = timings["capture_seconds"]
        setups.append(timings["setup_seconds"] + captured)
        iterations.append((timings["painting_seconds"] - captured) / few)
    return Costs(Line.fit(sizes, setups[1:]), Line.fit(sizes, iterations[1:]))


def timings_of(job: Job) -> Mapping[str, float]:
    """The timings in a run's `run.json`."""
    return RunRecord.load(job.folder).timings


def launching(few: int, many: int) -> tuple[float, float, float]:
    """Seconds a cell by sweeps of so many tiny ones: to plan it, to draw it, and all from command to page."""
    arguments = ["model=vgg16", "model.weights=random", "size=24", "iterations=1", "tracking=none"]
    arguments += ["hardware.device=cpu", "optimizer=adam"]
    with tempfile.TemporaryDirectory() as folder:

        def seconds(cells: int, *more: str) -> float:
            grid = ["-m", f"seed=range(0,{cells})", f"hydra.sweep.dir={cells}", *arguments, *more]
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, str(ROOT / "run.py"), *grid], cwd=folder, check=True, capture_output=True
            )
            return time.perf_counter() - began

        planning = (seconds(many, "plan=true") - seconds(few, "plan=true")) / (many - few)
        whole = -seconds(few, "resume=false")
        whole = (whole + seconds(many, "resume=false")) / (many - few)
        began = time.perf_counter()
        rebuild(Path(folder, str(many)))
        return planning, (time.perf_counter() - began) / many, whole


def ten_thousand(size: int) -> list[Job]:
    """Layers x optimizers x style weights x seeds."""
    jobs: list[Job] = []
    for optimizer, layer in itertools.product(OPTIMIZERS, LAYERS):
        base = config(f"optimizer={optimizer}", f"content_layers={layer}", f"size={size}")
        for weight, seed in itertools.product(range(10), range(100)):
            weights = replace(base.weights, style=1000.0 * (weight + 1))
            folder = Path("/nowhere", str(len(jobs)))
            jobs.append(Job(replace(base, weights=weights, seed=seed), folder, ()))
    return jobs


@dataclass(frozen=True)
class Outcome:
    """Seconds of the whole, and of it those of all workers together.

    `launching` is while there is nothing to paint yet, and when all is drawn; `idle` while others still
    paint; `logging` while the rest is logged when all is painted.
    """

    makespan: float
    launching: float
    setup: float
    painting: float
    idle: float
    logging: float
    batches: int


def simulate(
    jobs: Sequence[Job],
    workers: int,
    most: int,
    costs: dict[str, Costs],
    server: Server,
    launching: float,
) -> Outcome:
    """Hand the planner's batches to workers as they become free, the longest first.

    Each logs what it has painted beside what it paints next. The server takes cells in the order in which
    they come, each `1 / cells_a_second` after the one before at least.
    """
    batches = cut(jobs, workers, lambda configs: most)
    batches.sort(key=lambda batch: -_seconds(batch, costs))
    free = [(0.0, worker) for worker in range(workers)]
    painted = list[tuple[float, int, int]]()
    setup = painting = 0.0
    for batch in batches:
        begun, worker = heapq.heappop(free)
        cost = costs[batch[0].config.optimizer.name]
        lasting = _seconds(batch, costs)
        setup, painting = setup + cost.setup(len(batch)), painting + lasting - cost.setup(len(batch))
        painted.append((begun + lasting, worker, len(batch)))
        heapq.heappush(free, (begun + lasting, worker))
    logged, taken = [0.0] * workers, 0.0
    for ended, worker, cells in sorted(painted):
        begun = max(ended, logged[worker])
        taken = max(taken, begun) + cells / server.cells_a_second
        logged[worker] = max(taken, begun + cells * server.seconds)
    last = max(free)[0]
    ended, alone = max(logged), launching * len(jobs)
    return Outcome(
        ended + alone,
        workers * alone,
        setup,
        painting,
        workers * last - setup - painting,
        workers * (ended - last),
        len(batches),
    )


def _seconds(batch: Sequence[Job], costs: dict[str, Costs]) -> float:
    cost = costs[batch[0].config.optimizer.name]
    return cost.setup(len(batch)) + cost.iteration(len(batch)) * batch[0].config.iterations


def main() -> None:
    """Measure, simulate, publish."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=10, help="of what is measured")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8], help="batch sizes to measure")
    parser.add_argument("--most", type=int, default=64, help="rows of a batch at most")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument(
        "--faster", type=float, default=1.0, help="what if iterations were so many times as fast"
    )
    parser.add_argument("--log-seconds", type=float, default=2.0, help="to log a cell, alone")
    parser.add_argument("--log-rate", type=float, default=0.85, help="cells a second that the server takes")
    options = parser.parse_args()
    device = device_of(options.device)
    costs = {
        name: measure(name, options.size, options.rows, options.iterations, device) for name in OPTIMIZERS
    }
    server = Server(options.log_seconds, options.log_rate, requests=57, megabytes=2.153)
    planning, drawing, whole = launching(20, 220)
    columns = ["planning", "drawing", "from command to page"]
    alone = Table("The launcher, measured by cells of 16 px and one iteration, ms a cell", columns)
    alone.add(*(1000 * seconds for seconds in (planning, drawing, whole)))
    measured = Table("Measured, seconds", ["optimizer", "set-up", "iteration", "iteration of 8 / of 1"])
    for name, cost in costs.items():
        lines = [f"{line.base:.3g} + {line.slope:.3g} B" for line in (cost.setup, cost.iteration)]
        measured.add(name, *lines, cost.iteration(8) / cost.iteration(1))
    jobs = ten_thousand(options.size)
    tables = [measured, alone]
    for faster in sorted({1.0, options.faster}):
        sped = {name: replace(cost, iteration=cost.iteration.faster(faster)) for name, cost in costs.items()}
        title = f"{len(jobs):,} cells of {options.size} px"
        if faster > 1:
            title += f", if iterations were {faster:g} times as fast (an assumption, not a measurement)"
        columns = ["workers", "batches", "hours", "speed-up"]
        columns += ["launching", "set-up", "painting", "idle", "logging"]
        shares = Table(title, [*columns, "cells/s", "requests/s", "MB/s"])
        first: float | None = None
        for workers in options.workers:
            outcome = simulate(jobs, workers, options.most, sped, server, planning + drawing)
            first = first or outcome.makespan
            together = workers * outcome.makespan
            parts = (outcome.launching, outcome.setup, outcome.painting, outcome.idle, outcome.logging)
            told = [f"{part / together:.1%}" for part in parts]
            rate = len(jobs) / outcome.makespan
            asked = (rate, rate * server.requests, rate * server.megabytes)
            hours = outcome.makespan / 3600
            shares.add(workers, outcome.batches, hours, first / outcome.makespan, *told, *asked)
        tables.append(shares)
    publish("Scaling, simulated", tables, device, options.out)


if __name__ == "__main__":
    main()
