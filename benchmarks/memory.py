"""What memory a canvas takes by its size, with all activations kept and with recomputing."""

import argparse
import json
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.common import (
    MODEL,
    STYLE_LAYERS,
    Table,
    arguments,
    device_of,
    frames,
    publish,
    timed,
    weights,
)
from nst.config.paths import ROOT
from nst.core.cell import Cell
from nst.core.engine import Engine
from nst.core.networks import build, cost
from nst.core.objective import Objective
from nst.core.optimizers import OptimizerConfig
from nst.core.optimizers.adam import AdamConfig
from nst.core.optimizers.lbfgs import LBFGSConfig
from nst.core.precision import DTYPES, arithmetic

GIB = 2**30
LAYERS = {"conv4_2": 1.0}


@dataclass(frozen=True)
class Measured:
    """GiB at most while targets are computed and while it is painted, above those of the process before."""

    targets: float
    painting: float
    seconds: float  # of an iteration


def measure(size: int, recompute: bool, precision: str, history: int, device: torch.device) -> Measured:
    """Paint one iteration of a square canvas; in a process of its own."""
    tensors = weights()
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    before = _peak(device)
    cell = Cell(images[0], (images[1],), LAYERS, STYLE_LAYERS, "relu", 5.0, 7000.0, 1.2)
    options = {"recompute": recompute, "device": device, "dtype": DTYPES[precision]}
    with arithmetic(precision):
        goal = Objective(build(MODEL, tensors, cell.taps(), normalize=True, **options), [cell])  # type: ignore[arg-type]
        targets = _peak(device)
        config: OptimizerConfig = LBFGSConfig(history_size=history) if history else AdamConfig()
        optimizer = config.build(torch.tensor([config.lr], device=device))
        engine = Engine(goal, optimizer, images[:1], capture=False)
        seconds = timed(lambda: list(frames(engine.paint(1, 1))), device)
    return Measured((targets - before) / GIB, (_peak(device) - before) / GIB, seconds)


def estimate(size: int, recompute: bool, precision: str, history: int) -> float:
    """What `plan=true` says it takes, in GiB."""
    canvases = 8 + (2 * (history + 1) if history else AdamConfig.canvases)
    kept = cost(MODEL, {*LAYERS, *STYLE_LAYERS}, (size, size), recompute=recompute).kept
    return (kept * (2 if precision == "bf16" else 4) + canvases * 3 * size**2 * 4) / GIB


def _peak(device: torch.device) -> int:
    """The most bytes since it was asked last; where the kernel does not tell, since the process began."""
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return most
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        [line] = [line for line in lines if line.startswith("VmHWM:")]
        Path("/proc/self/clear_refs").write_text("5")
        return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """One process for each row of the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], help="of the canvas, pixels")
    parser.add_argument("--precisions", nargs="+", default=["fp32"], choices=DTYPES)
    parser.add_argument("--history", type=int, default=0, help="secant pairs of L-BFGS; 0 is Adam")
    parser.add_argument("--recompute", nargs="+", default=["false", "true"], choices=["false", "true"])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = device_of(options.device)
    name = f"L-BFGS with {options.history} pairs" if options.history else "Adam"
    columns = ["px", "precision", "recompute", "targets", "painting", "per megapixel", "estimate", "s"]
    table = Table(f"GiB of a square canvas on {MODEL} to conv5_1, {name}", columns)
    for size in options.sizes:
        for precision in options.precisions:
            for recompute in options.recompute:
                what = size, recompute == "true", precision, options.history
                if options.one:
                    print(json.dumps(asdict(measure(*what, device))))
                    return
                found = Measured(**_in_a_process(size, recompute, precision, options.history, device))
                most = max(found.targets, found.painting)
                told = (found.targets, found.painting, most / (size**2 / 1e6), estimate(*what), found.seconds)
                table.add(size, precision, recompute, *told)
    publish("Memory by size", [table], device, options.out)


def _in_a_process(
    size: int, recompute: str, precision: str, history: int, device: torch.device
) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", "--one", "--device", str(device)]
    command += ["--sizes", str(size), "--recompute", recompute, "--precisions", precision]
    command += ["--history", str(history)]
    run = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(run.stdout)
    return found


if __name__ == "__main__":
    main()
