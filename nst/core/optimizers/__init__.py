"""Batched optimizers: each row of a batch is a problem of its own, and no step waits for the host."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, Self, TypeVar

from torch import Tensor

from nst.core.options import Option
from nst.errors import NstError

State = TypeVar("State")


class Optimizer(Protocol[State]):
    """What the engine steps.

    A state is a dataclass of tensors `[B, ...]` that `step` changes in place and reads nothing besides, so
    that a step can be captured in a CUDA graph and a state can be saved and put back, and cut into rows.
    """

    def of(self, rows: slice) -> Self:
        """The optimizer of some of the rows, to step their part of the state."""
        ...

    def init(self, canvas: Tensor) -> State:
        """A fresh state for canvases `[B, ...]`."""
        ...

    def step(self, canvas: Tensor, loss: Tensor, gradient: Tensor, state: State) -> None:
        """Move `canvas` `[B, ...]` in place, given its loss `[B]` and gradient `[B, ...]` there."""
        ...


# What the rows of a batch may each have of their own.
OF_ROWS = {"lr", "average", "bounds"}


@dataclass
class OptimizerConfig(Option):
    """An optimizer's settings. In a batch all but `OF_ROWS` are those of every row.

    Attributes:
        canvases: memory that a row's state takes, as multiples of its canvas.
        lr: the learning rate.
        average: decay of the average of iterates, which is what is shown, scored and handed on to the next
            scale; 0 is none.
        bounds: `clamp` keeps the canvas in [0, 1] after each step, `none` leaves it.
    """

    group: ClassVar[str] = "optimizer"
    canvases: ClassVar[int] = 2

    lr: float = 1.0
    average: float = 0.0
    bounds: str = "none"

    @property
    def clamps(self) -> bool:
        """Whether the canvas is kept in [0, 1]."""
        return self.bounds == "clamp"

    def build(self, lr: Tensor) -> Optimizer[Any]:
        """The optimizer of a batch, given each row's learning rate `[B]` on the canvas's device."""
        raise NotImplementedError

    def carry(self, state: Any, shape: Sequence[int]) -> Any:
        """What the next scale begins with, given the state so far and that scale's (height, width).

        None where it begins anew.
        """
        return None

    def check(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise NstError(f"optimizer.lr={self.lr}: must be a finite number above 0; give another")
        if not 0 <= self.average < 1:
            raise NstError(
                f"optimizer.average={self.average}: allowed are 0, which is no average, to 1, without 1; "
                "give another"
            )
        if self.bounds not in ("none", "clamp"):
            raise NstError(f"optimizer.bounds={self.bounds}: allowed are none, clamp; give one of them")

    def shared(self) -> dict[str, Any]:
        """What the rows of a batch have in common."""
        return {key: value for key, value in asdict(self).items() if key not in OF_ROWS}

    def identity(self) -> Any:
        # Cells were painted before there was a choice: what they had is not told.
        before = {"average": 0.0, "bounds": "none"}
        return {key: value for key, value in asdict(self).items() if before.get(key) != value}
