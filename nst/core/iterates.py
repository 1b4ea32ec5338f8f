"""What becomes of the iterates of an optimizer, whichever it is: clamped, and averaged for show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from nst.core.optimizers import OptimizerConfig


@dataclass
class Iterates:
    """Bounds of each row's canvas, and an exponential moving average of it, corrected for its bias.

    x̄ₙ = Σ dⁿ⁻ᵏ·xₖ · (1 - d)/(1 - dⁿ), with x₁ the initial canvas (as Adam's moments: Kingma & Ba, ICLR 2015)

    is kept as x̄ₙ = x̄ₙ₋₁ + w·(xₙ - x̄ₙ₋₁) with w = (1 - d)/(1 - dⁿ). Where d is 0 it is the canvas, to the bit.

    Attributes:
        bounded: whether a row's canvas is clamped to [0, 1], `[B]`.
        decay: d of each row, `[B]` float64; 0 is no average.
        count: n, `[B]` float64.
        average: x̄, like the canvas.
    """

    bounded: Tensor
    decay: Tensor
    count: Tensor
    average: Tensor

    @classmethod
    def of(cls, options: Sequence[OptimizerConfig], canvas: Tensor) -> Self | None:
        """Those of rows with these settings, which begin at `canvas`; None where no row needs any."""
        if not any(option.average or option.clamps for option in options):
            return None
        bounded = torch.tensor([option.clamps for option in options], device=canvas.device)
        decay = [option.average for option in options]
        rates = torch.tensor(decay, dtype=torch.float64, device=canvas.device)
        return cls(bounded, rates, torch.ones_like(rates), canvas.clone())

    def clamp(self, canvas: Tensor) -> Tensor:
        """The canvas `[B, ...]` within its bounds."""
        return canvas.clamp(0, 1).where(_like(canvas, self.bounded), canvas)

    def step(self, canvas: Tensor) -> None:
        """Clamp the canvas `[B, ...]` in place, and take it in."""
        canvas.copy_(self.clamp(canvas))
        self.count += 1
        weight = _like(canvas, ((1 - self.decay) / (1 - self.decay**self.count)).to(canvas.dtype))
        self.average.copy_(self.average.lerp(canvas, weight).where(weight < 1, canvas))


def _like(canvas: Tensor, rows: Tensor) -> Tensor:
    """`rows` `[B]`, to be broadcast to the canvas."""
    return rows.view(-1, *[1] * (canvas.dim() - 1))
