"""The Wasserstein distance of features as if they were normally distributed."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nst.core.losses.feature_loss import StyleLoss
from nst.core.losses.matrix_roots import root, trace_and_inverse_root
from nst.core.losses.term import Place, Term, wide

BLOCK = 4096  # positions of which products are taken at a time, in float64


@dataclass
class Wasserstein(StyleLoss):
    """W2² of normal distributions with the features' means μ and covariances Σ, divided by C.

    (|μ - μ'|² + tr Σ + tr Σ' - 2·tr (Σ'^½·Σ·Σ'^½)^½) / C (Olkin & Pukelsheim, 1982, theorem 4). Several
    styles are one distribution, that of their mixture.
    """

    copies: ClassVar[float] = 6.0  # centred features and their gradient, some in float64
    blends: ClassVar[bool] = True

    name: str = "wasserstein"

    def target(self, features: Tensor) -> Tensor:
        """Mean and second moments: `[1, 1 + C, C]`, in float64."""
        rows = features.flatten(2).double()
        return torch.cat([rows.mean(2).unsqueeze(1), rows @ rows.mT / rows.shape[2]], 1)

    def scale(self, target: Tensor, features: Tensor, reference: Tensor) -> Tensor:
        # Of features of 0 all is lost: |μ'|² + tr Σ' is the trace of the second moments.
        empty = (target[:, 1:].diagonal(dim1=1, dim2=2).mean(1)).to(reference.dtype)
        return torch.where(empty > 0, reference / empty, 1.0)

    def term(self, place: Place, target: Tensor) -> Term:
        return WassersteinTerm(place, target)


class WassersteinTerm(Term):
    """Mean and covariance against those of the style image.

    With X the centred features over √N, R = Σ'^½ and M = R·X·Xᵀ·R, the derivative of tr M^½ by X is
    R·M^(-½)·R·X. Where positions are fewer than channels, the N x N matrix K = Xᵀ·Σ'·X has the same trace of
    its root, and the derivative is Σ'·X·K^(-½). The inverse is a pseudo-inverse: covariances of few
    positions, or of channels that are always 0, do not have full rank, and of all derivatives that of least
    norm is 0 at the style itself.

    Products are taken in float64: a root of a rounding error of float32 would not be small.
    """

    def __init__(self, place: Place, target: Tensor) -> None:
        super().__init__(place, target)
        self.mean, second = target[:, 0], target[:, 1:]
        self.covariance = second - self.mean.unsqueeze(2) * self.mean.unsqueeze(1)
        self.root = root(self.covariance)
        self.trace = self.covariance.diagonal(dim1=1, dim2=2).sum(1)
        self.gradient = target  # of the latest evaluation

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        mine = self.place.of(features)
        rows, shape = wide(mine).flatten(2), mine.shape
        channels, positions = rows.shape[1:]
        mean = rows.mean(2, keepdim=True)
        x, off = rows - mean, mean.squeeze(2) - self.mean
        if positions < channels:
            x64 = x.double()
            toward = self.covariance @ x64
            trace, inverse = trace_and_inverse_root(x64.mT @ toward / positions)
            back = (toward @ inverse).to(x.dtype)
        else:
            square = _square(x) / positions
            trace, inverse = trace_and_inverse_root(self.root @ square @ self.root)
            back = (self.root @ inverse @ self.root).to(x.dtype) @ x
        spread = x.square().sum((1, 2), dtype=torch.float64) / positions
        value = (off.square().sum(1) + spread + self.trace - 2 * trace) / channels
        self.place.add(values, value.to(values.dtype))
        scale = (2 * self.place.weight / (channels * positions)).view(-1, 1, 1)
        self.gradient = (x.sub_(back).add_(off.unsqueeze(2)).mul_(scale)).view(shape)

    def add_gradient(self, features: Tensor, gradient: Tensor) -> None:
        with self.place.of_in_place(gradient) as into:
            into += self.gradient.to(gradient.dtype)


def _square(x: Tensor) -> Tensor:
    """x·xᵀ of `[b, C, N]` in float64, a block at a time: a copy of all would be large."""
    square = x.new_zeros(len(x), x.shape[1], x.shape[1], dtype=torch.float64)
    for block in x.split(BLOCK, 2):
        exact = block.double()
        square.baddbmm_(exact, exact.mT)
    return square
