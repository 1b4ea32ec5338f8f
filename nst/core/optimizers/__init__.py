"""Batched optimizers: each row of a batch is a problem of its own, and no step waits for the host."""

import math
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


@dataclass
class OptimizerConfig(Option):
    """An optimizer's settings. In a batch all but the learning rate are those of every row.

    Attributes:
        canvases: memory that a row's state takes, as multiples of its canvas.
        lr: the learning rate.
    """

    group: ClassVar[str] = "optimizer"
    canvases: ClassVar[int] = 2

    lr: float = 1.0

    def build(self, lr: Tensor) -> Optimizer[Any]:
        """The optimizer of a batch, given each row's learning rate `[B]` on the canvas's device."""
        raise NotImplementedError

    def check(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise NstError(f"optimizer.lr={self.lr}: must be a finite number above 0; give another")

    def shared(self) -> dict[str, Any]:
        """What the rows of a batch have in common."""
        return {key: value for key, value in asdict(self).items() if key != "lr"}

    def identity(self) -> Any:
        return asdict(self)
