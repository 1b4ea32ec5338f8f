"""How alike a picture's places are to each other, whatever they look like."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from nst.core.losses.feature_loss import ContentLoss
from nst.core.losses.nearest import unit
from nst.errors import NstError

SMALL = 1e-6  # added to each distance: where all features are alike, the others are rounding errors


@dataclass
class SelfSimilarity(ContentLoss):
    """Mean difference of the cosine distances of all pairs of features, each over the sum of its column.

    Kolkin et al. (STROTSS, CVPR 2019, eq. 8). They draw 1024 positions each iteration; where there are more
    than `positions`, neighbours are averaged here, so that every place counts in every iteration.

    Attributes:
        positions: of which all pairs are compared, at most.
    """

    copies: ClassVar[float] = 8.0

    name: str = "self_similarity"
    positions: int = 1024

    def check(self) -> None:
        if self.positions < 2:
            raise NstError(
                f"content_loss.positions={self.positions}: must be at least 2; give a larger number"
            )

    def target(self, features: Tensor) -> Tensor:
        return self._distances(features)

    def value(self, features: Tensor, target: Tensor) -> Tensor:
        return (self._distances(features) - target).abs().mean((1, 2))

    def _distances(self, features: Tensor) -> Tensor:
        """`[b, n, n]`, of which each column sums to 1."""
        height, width = features.shape[2:]
        side = 1
        while -(-height // side) * -(-width // side) > self.positions:
            side += 1
        if side > 1:
            features = F.avg_pool2d(features, side, ceil_mode=True, count_include_pad=False)
        rows, _ = unit(features)
        distances = 1 - rows @ rows.mT
        return distances / (distances.sum(1, keepdim=True) + SMALL * distances.shape[1])
