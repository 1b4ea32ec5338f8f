"""Means and standard deviations of channels."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nst.core.losses.feature_loss import StyleLoss
from nst.core.losses.term import Place, Term, wide


@dataclass
class Moments(StyleLoss):
    """Squared differences of each channel's mean and standard deviation, a mean over C.

    "BN statistics matching" of Li et al. (Demystifying neural style transfer, IJCAI 2017, eq. 11).
    """

    copies: ClassVar[float] = 1.0  # an elementwise product that comes and goes
    blends: ClassVar[bool] = True

    name: str = "moments"

    def target(self, features: Tensor) -> Tensor:
        return moments(features)

    def value(self, features: Tensor, target: Tensor) -> Tensor:
        return (moments(features) - target).square().sum(1).mean(1)

    def term(self, place: Place, target: Tensor) -> Term:
        return MomentsTerm(place, target)


class MomentsTerm(Term):
    """Moments of channels against those of the style image.

    With L = (|μ - μ'|² + |σ - σ'|²)/C, dL/dF = 2·((μ - μ') + (σ - σ')·(F - μ)/σ)/(C·N), which is affine in F.
    """

    def __init__(self, place: Place, target: Tensor) -> None:
        super().__init__(place, target)
        self.slope = self.offset = target  # of the latest evaluation, [b, C, 1, 1]

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        mine = self.place.of(features)
        found = moments(mine)
        difference = found - self.target
        self.place.add(values, difference.square().sum(1).mean(1))
        (mean, deviation), (off_mean, off_deviation) = found.unbind(1), difference.unbind(1)
        # A channel that is constant has no direction to move in.
        slope = torch.where(deviation > 0, off_deviation / deviation, 0)
        scale = (2 * self.place.weight / mine[0].numel()).unsqueeze(1)
        self.slope = (scale * slope)[..., None, None]
        self.offset = (scale * (off_mean - slope * mean))[..., None, None]

    def add_gradient(self, features: Tensor, gradient: Tensor) -> None:
        with self.place.of_in_place(gradient) as into:
            # In float32 at least: a mean may be much larger than what differs from it.
            into += (wide(self.place.of(features)) * self.slope).add_(self.offset)


def moments(features: Tensor) -> Tensor:
    """Mean and standard deviation of each channel of `[b, C, H, W]`: `[b, 2, C]`, in at least float32."""
    variance, mean = torch.var_mean(wide(features).flatten(2), 2, correction=0)
    return torch.stack([mean, variance.sqrt()], 1)
