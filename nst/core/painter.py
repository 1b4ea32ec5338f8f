"""The engines of a batch, one for each scale, as one painting."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from nst.core.cell import Cell
from nst.core.engine import Engine, Snapshot
from nst.core.iterates import Iterates
from nst.core.network import Network
from nst.core.objective import Objective
from nst.core.optimizers import OptimizerConfig
from nst.core.resizing import enlarge
from nst.core.scales import Scale, cells_at, shape_at


class Painter:
    """Paints B canvases together, from scale to scale.

    Between two scales the canvases, averaged where they are, are enlarged bicubically, and clamped where they
    have bounds; the optimizer carries over what it can, and averages begin anew.

    Args:
        network: of all scales.
        cells: with their images as they are at the last scale.
        options: of each row's optimizer.
        scales: increasing.
        start: makes the initial canvases `[B, 3, H, W]`, given the cells as they are at the first scale.
        capture: whether steps may be captured (see `Engine`).

    Attributes:
        engine: of the present scale.
        shape: (height, width) of the canvases at the last scale.
    """

    def __init__(
        self,
        network: Network[Any],
        cells: Sequence[Cell],
        options: Sequence[OptimizerConfig],
        scales: Sequence[Scale],
        start: Callable[[Sequence[Cell]], Tensor],
        *,
        capture: bool = True,
    ) -> None:
        self._network, self._cells, self._options, self._capture = network, cells, options, capture
        self._shares = [Fraction(scale.size, scales[-1].size) for scale in scales]
        self._ends = list(accumulate(scale.iterations for scale in scales))
        self._start = start
        self.shape = shape_at(cells[0].content.shape[1:], Fraction(1))
        self._captured = 0.0
        self._stand_at(0)

    @property
    def iterations(self) -> int:
        """Of all scales."""
        return self._ends[-1]

    @property
    def capture_seconds(self) -> float:
        """What warming up and capturing took at the scales so far."""
        return self._captured + self.engine.capture_seconds

    def seek(self, done: int) -> None:
        """Stand, before anything is painted, at the scale of evaluation number `done`; 0 is the start."""
        scale = next(n for n, end in enumerate(self._ends) if done <= end)
        if scale != self._scale:
            self._stand_at(scale)

    def restore(self, tensors: Mapping[str, Tensor], done: int) -> None:
        """Go on from `tensors` of a painter of the same cells that had done `done` evaluations."""
        self.engine.restore(tensors, done)

    def paint(self, save_every: int) -> Iterator[Snapshot]:
        """Run all evaluations, and yield snapshots as `Engine.paint` does, each at its scale."""
        while True:
            yield from self.engine.paint(self.iterations, save_every, self._ends[self._scale])
            if self._scale == len(self._ends) - 1:
                return
            self._enlarge()

    def _stand_at(self, scale: int) -> None:
        """Make the engine of a scale, to be restored if it is not the first."""
        self._scale = scale
        cells = self._small_cells()
        self.engine = self._engine(
            cells, torch.zeros(len(cells), 3, *self._shape) if scale else self._start(cells)
        )

    def _enlarge(self) -> None:
        """Go on to the next scale."""
        before = self.engine
        self._scale += 1
        self._captured += before.capture_seconds
        canvas, done = enlarge(before.shown, self._shape), before.done
        if before.iterates is not None:
            canvas = before.iterates.clamp(canvas)
        state = self._options[0].carry(before.state, self._shape)
        del before, self.engine  # the next takes twice the memory
        self.engine = self._engine(self._small_cells(), canvas, state)
        self.engine.done = done

    @property
    def _shape(self) -> tuple[int, int]:
        """(height, width) of the canvases at the present scale."""
        return shape_at(self.shape, self._shares[self._scale])

    def _small_cells(self) -> list[Cell]:
        """The cells as they are at the present scale."""
        return cells_at(self._cells, self._shares[self._scale])

    def _engine(self, cells: Sequence[Cell], canvas: Tensor, state: Any = None) -> Engine:
        network = self._network
        canvas = canvas.to(network.device, network.wide)
        rates = [option.lr for option in self._options]
        optimizer = self._options[0].build(torch.tensor(rates, dtype=network.wide, device=network.device))
        return Engine(
            Objective(network, cells),
            optimizer,
            canvas,
            state=state,
            iterates=Iterates.of(self._options, canvas),
            capture=self._capture,
        )
