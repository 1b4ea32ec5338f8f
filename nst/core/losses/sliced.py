"""The sliced Wasserstein distance: features sorted along random directions."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nst.core.losses.feature_loss import StyleLoss
from nst.core.losses.term import Place, Term, wide
from nst.errors import NstError


@dataclass
class Sliced(StyleLoss):
    """W2² of the features' projections on random directions, a mean over these.

    Heitz et al. (CVPR 2021, eq. 4). Both lists of projections, sorted, are compared as if each were repeated
    to one length. The directions stay the same for all iterations, so that L-BFGS has one function to
    descend, and what is resumed goes on as it would have.

    Attributes:
        directions: how many; None is as many as there are channels.
        seed: of the directions.
    """

    copies: ClassVar[float] = 9.0  # both sorted lists, projections, their order, what sorting takes

    name: str = "sliced"
    directions: int | None = None
    seed: int = 0

    def check(self) -> None:
        for key, least in (("directions", 1), ("seed", 0)):
            value = getattr(self, key)
            if value is not None and not least <= value < 2**63:
                raise NstError(
                    f"style_loss.{key}={value}: must be at least {least} and below 2^63; give another number"
                )

    def target(self, features: Tensor) -> Tensor:
        """Directions beside their sorted projections: `[1, K, C + n]`."""
        channels = features.shape[1]
        generator = torch.Generator("cpu").manual_seed(self.seed)
        drawn = torch.randn(self.directions or channels, channels, generator=generator, dtype=torch.float64)
        unit = drawn / drawn.norm(dim=1, keepdim=True)
        directions = unit.to(features).unsqueeze(0)
        return torch.cat([directions, (directions @ features.flatten(2)).sort(2).values], 2)

    def value(self, features: Tensor, target: Tensor) -> Tensor:
        rows = features.flatten(2)
        directions, theirs = target[..., : rows.shape[1]], target[..., rows.shape[1] :]
        goal, rest = repeated(theirs, rows.shape[2])
        return ((directions @ rows).sort(2).values - goal).square().mean((1, 2)) + rest

    def term(self, place: Place, target: Tensor) -> Term:
        return SlicedTerm(place, target)


class SlicedTerm(Term):
    """Sorted projections against those of the style image.

    The derivative by the projections is 2·(sorted - target)/(K·N), each at the position that it came from.
    """

    def __init__(self, place: Place, target: Tensor) -> None:
        super().__init__(place, target)
        self.goal: Tensor | None = None
        self.rest = self.directions = self.moves = target

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        rows = wide(self.place.of(features)).flatten(2)
        channels, positions = rows.shape[1:]
        if self.goal is None:  # once: its length is the canvas's
            self.directions = self.target[..., :channels].contiguous()
            self.goal, self.rest = repeated(self.target[..., channels:], positions)
        projections = self.directions @ rows
        ordered, order = projections.sort(2)
        ordered -= self.goal
        self.place.add(values, ordered.square().mean((1, 2)) + self.rest)
        ordered *= (2 * self.place.weight / projections[0].numel()).view(-1, 1, 1)
        self.moves = projections.scatter_(2, order, ordered)

    def add_gradient(self, features: Tensor, gradient: Tensor) -> None:
        with self.place.of_in_place(gradient) as into:
            into += (self.moves.mT @ self.directions).mT.view_as(into).to(gradient.dtype)


def repeated(theirs: Tensor, positions: int) -> tuple[Tensor, Tensor]:
    """Sorted lists `[b, K, n]` at another length, and what is lost for certain by that length.

    If both lists were repeated to one length, each number of a canvas would be compared with several of a
    style: with their mean, and what they differ from it is lost whatever the canvas is.

    Returns:
        The means `[b, K, positions]`, and the variance's mean over all `[b]`.
    """
    count = theirs.shape[2]
    if count == positions:
        return theirs, theirs.new_zeros(len(theirs))
    exact = theirs.double()
    sums = torch.nn.functional.pad(exact.cumsum(2), (1, 0))
    ends = torch.arange(positions + 1, device=theirs.device, dtype=torch.float64) * (count / positions)
    whole = ends.floor().clamp(max=count - 1).long()
    until = sums[..., whole] + exact[..., whole] * (ends - whole)
    means = until.diff(dim=2) * (positions / count)
    rest = exact.square().mean((1, 2)) - means.square().mean((1, 2))
    return means.to(theirs.dtype), rest.clamp(min=0).to(theirs.dtype)
