"""The engine against plain loops that paint one canvas at a time: milliseconds a canvas and iteration."""

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from benchmarks.common import (
    MODEL,
    Table,
    Work,
    arguments,
    canvases,
    check_sane,
    default_cell,
    device_of,
    fastest,
    objective,
    optimizer_of,
    painting,
    publish,
    weights,
)
from benchmarks.plain import PlainLoop
from nst.core.engine import Engine
from nst.core.precision import arithmetic

# Three network passes an iteration with weights that ask for gradients; the same with frozen weights;
# targets once and frozen weights.
PLAIN = {
    "seed-like": {"cached": False, "frozen": False},
    "three passes": {"cached": False, "frozen": True},
    "textbook": {"cached": True, "frozen": True},
}
SAVE_EVERY = 10  # the README's


@dataclass(frozen=True)
class Bout:
    """Contestants that take turns: all with one optimizer, at one size."""

    optimizer: str
    size: int
    batches: list[int]
    precisions: list[str]  # of the engines
    plain: str  # what the loops compute in
    device: torch.device
    iterations: int  # a round
    filling: int  # iterations before the first round: L-BFGS's history fills
    repeats: int

    @property
    def calls(self) -> int:
        """Rounds to expect, with those that are not counted."""
        return math.ceil(self.filling / self.iterations) + 1 + self.repeats

    def fight(self, table: Table) -> None:
        """Take the times, and add a row for each engine."""
        engines = list(product(self.batches, self.precisions))
        painters = {name: self._loop(**how) for name, how in PLAIN.items()}
        painters |= {f"{b} {p}": self._engine(b, p) for b, p in engines}
        for work, _ in painters.values():
            for _ in range(self.calls - 1 - self.repeats):
                work()
        contestants = {name: work for name, (work, _) in painters.items()}
        seconds = fastest(contestants, self.device, self.repeats)
        for name, (_, canvas) in painters.items():
            check_sane(name, canvas)
        loops = [seconds[name] / self.iterations * 1e3 for name in PLAIN]
        for b, p in engines:
            mine = seconds[f"{b} {p}"] / self.iterations / b * 1e3
            ratios = [loop / mine for loop in loops]
            table.add(self.optimizer, self.size, b, p, self.plain, mine, *loops, *ratios)

    def _loop(self, *, cached: bool, frozen: bool) -> tuple[Work, Tensor]:
        loop = PlainLoop(
            MODEL,
            weights(),
            default_cell(self.size),
            canvases(self.size, 1)[0],
            self.device,
            self.optimizer,
            cached=cached,
            frozen=frozen,
            inner=math.gcd(self.iterations, 20),
        )

        def work() -> None:
            before = loop.evaluations
            with arithmetic(self.plain):
                loop.run(self.iterations)
            if loop.evaluations - before != self.iterations:
                raise SystemExit("torch's L-BFGS sees convergence and stops early; not worth timing")

        return work, loop.canvas.detach()

    def _engine(self, rows: int, precision: str) -> tuple[Work, Tensor]:
        with arithmetic(precision):
            engine = Engine(
                objective(self.size, rows, self.device, precision),
                optimizer_of(self.optimizer, rows, self.device),
                canvases(self.size, rows),
            )
        every = math.gcd(self.iterations, SAVE_EVERY)
        most = 10 * (self.calls + 1) * self.iterations
        paint = painting(engine, self.iterations, every, most)

        def work() -> object:
            with arithmetic(precision):
                return paint()

        return work, engine.canvas


def main() -> None:
    """Pair the engines with loops in comparable arithmetic, and publish."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--optimizers", nargs="+", default=["adam", "lbfgs"])
    parser.add_argument("--sizes", type=int, nargs="+", help="default: 128; on CUDA 128 256 512")
    parser.add_argument("--batches", type=int, nargs="+", help="B; default: 1; on CUDA 1 5 15")
    parser.add_argument("--precisions", nargs="+", help="default: fp32 bf16; on CUDA tf32 too")
    parser.add_argument("--iterations", type=int, help="in a round; default: 10; on CUDA 100")
    parser.add_argument("--filling", type=int, default=100, help="L-BFGS's iterations before the first round")
    options = parser.parse_args()
    device = device_of(options.device)
    cuda = device.type == "cuda"
    precisions = options.precisions or (["fp32", "tf32", "bf16"] if cuda else ["fp32", "bf16"])
    # Against bf16, the loops compute in what torch does by default.
    usual = "tf32" if cuda else "fp32"
    loops = {p: p if p != "bf16" else usual for p in precisions}

    columns = ["optimizer", "size", "B", "precision", "loops in", "engine, ms"]
    columns += [f"{name}, ms" for name in PLAIN] + [f"{name} / engine" for name in PLAIN]
    table = Table("Milliseconds a canvas and iteration, and their ratios", columns)
    for optimizer, size, plain in product(
        options.optimizers,
        options.sizes or ([128, 256, 512] if cuda else [128]),
        dict.fromkeys(loops.values()),
    ):
        Bout(
            optimizer,
            size,
            options.batches or ([1, 5, 15] if cuda else [1]),
            [p for p in precisions if loops[p] == plain],
            plain,
            device,
            options.iterations or (100 if cuda else 10),
            options.filling if optimizer == "lbfgs" else 0,
            options.repeats,
        ).fight(table)
    publish("The engine against plain loops", [table], device, options.out)


if __name__ == "__main__":
    main()
