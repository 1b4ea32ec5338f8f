"""Coarse to fine against one scale: what a pyramid reaches in which share of a single-scale run's time."""

import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from benchmarks.common import Table, arguments, device_of, publish
from nst.api import Cell, IterationInfo, paint, score
from nst.config.paths import ROOT
from nst.core.scales import Pyramid, Scale, Scales, Single
from nst.io.images import write_png


@dataclass(frozen=True)
class Moment:
    """A canvas on its way."""

    iteration: int
    seconds: float  # so far
    work: Fraction  # so far, in iterations at the last size
    losses: dict[str, float]
    lpips: float
    style_distance: float


@dataclass
class Contest:
    """One cell, painted in several ways."""

    cell: Cell
    size: int
    device: str
    precision: str
    frame_every: int
    canvases: Path | None

    def clock(self) -> float:
        """Seconds: on the CPU those that this process computes, whatever else the machine does."""
        return time.process_time() if device_of(self.device).type == "cpu" else time.perf_counter()

    def paint(self, name: str, scales: Scales, iterations: int) -> list[Moment]:
        """Paint it, and score each frame that has the final size; the scores' time does not count."""
        moments, spent, since = list[Moment](), 0.0, self.clock()
        schedule = scales.schedule(self.size, iterations)

        def see(info: IterationInfo) -> None:
            nonlocal spent, since
            spent += self.clock() - since
            if info.canvases is not None and max(info.canvases.shape[2:]) == self.size:
                scores = score(info.canvases[0], self.cell.content, self.cell.style, device=self.device)
                moments.append(
                    Moment(
                        info.iteration,
                        spent,
                        _work(schedule, info.iteration),
                        info.losses[0],
                        scores.lpips_content,
                        scores.style_distance,
                    )
                )
                print(f"{name}: {info.iteration} of {info.iterations}, {spent:.0f} s", flush=True)
            since = self.clock()

        [painting] = paint(
            self.cell,
            size=self.size,
            iterations=iterations,
            scales=scales,
            device=self.device,
            precision=self.precision,  # type: ignore[arg-type]
            callback=see,
            frame_every=self.frame_every,
        )
        if self.canvases:
            write_png(painting.canvas, self.canvases / f"{name}_{self.size}.png")
        return moments


def _work(schedule: list[Scale], iteration: int) -> Fraction:
    """What so many iterations cost, in iterations at the last size."""
    done = Fraction(0)
    for scale in schedule:
        here = min(iteration, scale.iterations)
        done += here * Fraction(scale.size, schedule[-1].size) ** 2
        iteration -= here
    return done


def main() -> None:
    """A table for each size."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--content", type=Path, default=ROOT / "data/cat.png")
    parser.add_argument("--style", type=Path, default=ROOT / "data/starry_night.jpg")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--iterations", type=int, default=240, help="at one scale")
    parser.add_argument("--first", type=int, default=150, help="at the first scale of the pyramid")
    parser.add_argument("--further", type=int, default=25, help="at each further one")
    parser.add_argument("--smallest", type=int, default=128)
    parser.add_argument("--every", type=int, default=10, help="iterations from one score to the next")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "tf32", "bf16"])
    parser.add_argument("--canvases", type=Path, help="folder that gets what was painted")
    options = parser.parse_args()
    paint(
        Cell(options.content, options.style), size=64, iterations=1, device=options.device
    )  # loads the weights
    tables = []
    for size in options.sizes:
        contest = Contest(
            *(Cell(options.content, options.style), size, options.device, options.precision),
            *(options.every, options.canvases),
        )
        pyramid = contest.paint(
            "pyramid", Pyramid("pyramid", options.smallest, options.further), options.first
        )
        single = contest.paint("single", Single(), options.iterations)
        columns = ["scales", "iterations", "time", "arithmetic", "style distance", "LPIPS"]
        columns += ["total loss", "content", "style"]
        table = Table(f"{size} px, L-BFGS; time and arithmetic as shares of the single-scale run's", columns)
        last = single[-1]
        for name, moments in (("single", single), ("pyramid", pyramid)):
            for one in moments:
                table.add(
                    *(name, one.iteration),
                    *(one.seconds / last.seconds, float(one.work / last.work)),
                    *(one.style_distance, one.lpips),
                    *(one.losses[term] for term in ("total", "content", "style")),
                )
        tables.append(table)
    publish("Coarse to fine", tables, device_of(options.device), options.out)


if __name__ == "__main__":
    main()
