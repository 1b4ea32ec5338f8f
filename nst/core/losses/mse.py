"""The content loss of Gatys et al.: squared differences of feature maps."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nst.core.losses.feature_loss import ContentLoss
from nst.core.losses.term import Place, Term, wide


@dataclass
class MSE(ContentLoss):
    """Mean squared difference of feature maps (Gatys et al., CVPR 2016, eq. 1)."""

    copies: ClassVar[float] = 0.0  # within those of the network's pass

    name: str = "mse"

    def value(self, features: Tensor, target: Tensor) -> Tensor:
        return content_loss(features, target)

    def scale(self, target: Tensor, features: Tensor, reference: Tensor) -> Tensor:
        return torch.ones_like(reference)

    def term(self, place: Place, target: Tensor) -> Term:
        return MSETerm(place, target)


class MSETerm(Term):
    """Feature maps against those of the content image."""

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        self.target = self.target.to(features.dtype)  # once, where the network is narrower
        self.place.add(values, content_loss(self.place.of(features), self.target))

    def add_gradient(self, features: Tensor, gradient: Tensor) -> None:
        with self.place.of_in_place(gradient) as into:
            add_content_gradient(into, self.place.of(features), self.target, self.place.weight)


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of feature maps.

    As Gatys et al. (CVPR 2016, eq. 1), but a mean over C, H, W where they take half the sum.

    Args:
        features, target: `[b, C, H, W]`.

    Returns:
        `[b]`, in at least float32.
    """
    difference = wide(features) - wide(target)
    # A norm over three dimensions reads any layout as it lies; a flattened copy would cost more.
    norm: Tensor = torch.linalg.vector_norm(difference, dim=(1, 2, 3))
    return norm.square() / difference[0].numel()


def add_content_gradient(gradient: Tensor, features: Tensor, target: Tensor, weight: Tensor) -> None:
    """Add the derivative of `weight` `[b]` times `content_loss` to `gradient` `[b, C, H, W]`, in place."""
    scale = (2 * weight / features[0].numel()).to(features.dtype)
    gradient.addcmul_(features - target, scale.view(-1, 1, 1, 1))
