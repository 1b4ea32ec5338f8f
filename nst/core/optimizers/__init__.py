"""Batched optimizers: each row of a batch is a problem of its own, and no step waits for the host."""

from typing import Protocol, Self, TypeVar

from torch import Tensor

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
