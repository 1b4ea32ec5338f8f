"""Adam for B rows at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from nst.core.optimizers import OptimizerConfig
from nst.core.resizing import enlarge


@dataclass
class AdamState:
    """Steps done `[B]` (float64: it is exact, and 0.999^n is needed to the last digit), and moments."""

    steps: Tensor
    mean: Tensor  # like the canvas
    square: Tensor  # like the canvas


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba, ICLR 2015, algorithm 1), as `torch.optim.Adam` with its defaults.

    m = β1·m + (1 - β1)·g;  v = β2·v + (1 - β2)·g²
    x = x - lr/(1 - β1ⁿ) · m / (√v / √(1 - β2ⁿ) + ε)

    Attributes:
        lr: learning rate of each row, `[B]`, on the canvas's device.
    """

    lr: Tensor
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def of(self, rows: slice) -> Self:
        """The same for some of the rows."""
        return replace(self, lr=self.lr[rows])

    def init(self, canvas: Tensor) -> AdamState:
        """A fresh state: two tensors like the canvas."""
        return AdamState(
            torch.zeros(len(canvas), dtype=torch.float64, device=canvas.device),
            torch.zeros_like(canvas),
            torch.zeros_like(canvas),
        )

    @torch.no_grad()
    def step(self, canvas: Tensor, loss: Tensor, gradient: Tensor, state: AdamState) -> None:
        """Move `canvas` `[B, ...]` in place."""
        first, second = self.betas
        state.steps += 1
        state.mean.lerp_(gradient, 1 - first)
        state.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        size = self.lr.double() / (1 - first**state.steps)
        root = (1 - second**state.steps).sqrt()
        rows = (-1, *[1] * (canvas.dim() - 1))
        denominator = (state.square.sqrt() / root.to(canvas.dtype).view(rows)).add_(self.eps)
        canvas.sub_(state.mean / denominator * size.to(canvas.dtype).view(rows))


@dataclass
class AdamConfig(OptimizerConfig):
    """`optimizer=adam`."""

    canvases: ClassVar[int] = 2  # two moments

    name: str = "adam"
    lr: float = 0.06

    def build(self, lr: Tensor) -> Adam:
        return Adam(lr)

    def carry(self, state: AdamState, shape: Sequence[int]) -> AdamState:
        """Steps, and the moments enlarged: the second bilinearly, since it must not be negative."""
        square = enlarge(state.square, shape, "bilinear").clamp(min=0)
        return AdamState(state.steps, enlarge(state.mean, shape), square)
