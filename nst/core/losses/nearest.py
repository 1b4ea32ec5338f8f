"""The distance of each feature to the nearest of the style."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nst.core.losses.feature_loss import StyleLoss
from nst.core.losses.term import Place, Term, wide

SMALL = 1e-12  # added to a feature's square, so that one of 0 has a direction: none


@dataclass
class Nearest(StyleLoss):
    """Cosine distance of each feature of the canvas to its nearest of the style, a mean over positions.

    Kolkin et al. (Neural neighbor style transfer, 2022, eq. 1); after Li & Wand (CVPR 2016), whose patches
    are 3 x 3. It takes H·W x h·w products of C numbers, so at shallow layers it is what an iteration costs.
    """

    copies: ClassVar[float] = 6.0  # unit features of both, a block of products, the gradient

    name: str = "nearest"

    def target(self, features: Tensor) -> Tensor:
        """Features of length 1, `[1, n, C]`."""
        return unit(features)[0]

    def value(self, features: Tensor, target: Tensor) -> Tensor:
        mine, _ = unit(features)
        return 1 - (mine @ target.mT).amax(2).mean(1)

    def term(self, place: Place, target: Tensor) -> Term:
        return NearestTerm(place, target)


class NearestTerm(Term):
    """Each feature against its nearest.

    With f = F/|F| and s the nearest, the derivative of 1 - f·s by F is (f·(f·s) - s)/|F|.
    """

    def __init__(self, place: Place, target: Tensor) -> None:
        super().__init__(place, target)
        self.gradient = target  # of the latest evaluation

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        mine = wide(self.place.of(features))
        rows, lengths = unit(mine)
        # As many positions at a time as there are channels: products take no more than the style's features.
        found = [(block @ self.target.mT).max(2) for block in rows.split(rows.shape[2], 1)]
        cosines = torch.cat([block.values for block in found], 1).unsqueeze(2)
        index = torch.cat([block.indices for block in found], 1).unsqueeze(2)
        self.place.add(values, 1 - cosines.mean((1, 2)))
        nearest = self.target.expand(len(rows), -1, -1).gather(1, index.expand(-1, -1, rows.shape[2]))
        scale = self.place.weight.view(-1, 1, 1) / (rows.shape[1] * lengths)
        self.gradient = ((rows * cosines).sub_(nearest) * scale).mT.view(mine.shape)

    def add_gradient(self, features: Tensor, gradient: Tensor) -> None:
        with self.place.of_in_place(gradient) as into:
            into += self.gradient.to(gradient.dtype)


def unit(features: Tensor) -> tuple[Tensor, Tensor]:
    """Features `[b, C, H, W]` of length 1, `[b, H·W, C]`, and their lengths `[b, H·W, 1]`."""
    rows = features.flatten(2).mT
    lengths = (rows.square().sum(2, keepdim=True) + SMALL).sqrt()
    return rows / lengths, lengths
