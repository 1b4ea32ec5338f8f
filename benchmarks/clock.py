"""run.py, but canvases are painted by the clock: as fast as by a GPU, which is not needed.

`benchmarks.host` starts it. Targets are computed, and frames, losses and canvases handed on, as by the
engine: a canvas goes from noise to a blend of its images. When painting begins and ends is said on stderr.
"""

import sys
import time
from collections.abc import Iterator

import torch

from nst.core.engine import Snapshot, save_points
from nst.core.painter import Painter

# Seconds of an iteration, and what each canvas adds: about an H100's with TF32, VGG-19, 128 px.
ITERATION, CANVAS = 4.5e-4, 1.4e-4


def paint(self: Painter, save_every: int) -> Iterator[Snapshot]:
    """What `Painter.paint` yields, when it is time for it."""
    cells, columns = self._cells, len(self.engine.objective.columns)
    content = torch.stack([cell.content for cell in cells])
    blend = 0.6 * content + 0.4 * content.roll(17, 2).flip(3)
    noise = 0.7 * torch.randn(content.shape, generator=torch.Generator().manual_seed(0))
    say("painting")
    began, last = time.perf_counter(), -1
    for point in save_points(self.iterations, save_every):
        left = 2 ** (-8 * point / self.iterations)
        losses = torch.linspace(left, left / 2, point - last)[:, None, None].expand(-1, len(cells), columns)
        time.sleep(max(0.0, began + (point + 1) * (ITERATION + CANVAS * len(cells)) - time.perf_counter()))
        yield Snapshot(point, blend.lerp(noise, left), losses)
        last = point
    say("painted")


def say(what: str) -> None:
    """Tell `benchmarks.host`."""
    print(f"clock {what} {time.time()}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    Painter.paint = paint  # type: ignore[method-assign]
    from nst.main import main

    sys.exit(main())
