"""The style loss of Gatys et al.: Gram matrices of feature maps."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nst.core.losses.feature_loss import StyleLoss
from nst.core.losses.gram_matrix import GramTarget, gram_matrix, style_gradient_factor, style_loss
from nst.core.losses.term import Place, Term
from nst.core.precision import as_in_convolutions


@dataclass
class Gram(StyleLoss):
    """Mean squared difference of Gram matrices (Gatys et al., CVPR 2016, eq. 3 to 5)."""

    copies: ClassVar[float] = 0.0  # matrices are small beside features
    blends: ClassVar[bool] = True

    name: str = "gram"

    def target(self, features: Tensor) -> Tensor:
        return gram_matrix(features)

    def value(self, features: Tensor, target: Tensor) -> Tensor:
        return style_loss(gram_matrix(features) - target)

    def scale(self, target: Tensor, features: Tensor, reference: Tensor) -> Tensor:
        return torch.ones_like(reference)

    def term(self, place: Place, target: Tensor) -> Term:
        return GramTerm(place, target)


class GramTerm(Term):
    """Gram matrices against those of the style image."""

    def __init__(self, place: Place, target: Tensor) -> None:
        super().__init__(place, target)
        self._compared = GramTarget(target)
        self.factor = target  # of the latest evaluation; what the backward pass needs of it

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        mine = self.place.of(features)
        positions = mine.shape[2] * mine.shape[3]
        difference = self._compared.difference(mine)
        self.place.add(values, style_loss(difference))
        self.factor = style_gradient_factor(difference, positions, self.place.weight)

    def add_gradient(self, features: Tensor, gradient: Tensor) -> None:
        mine = self.place.of(features)
        # The factor is symmetric, so positions can come first: the layout that is contiguous in
        # channels_last, and the only one with a fast bfloat16 product on the CPU.
        factor = self.factor.to(features.dtype)
        with self.place.of_in_place(gradient) as into, as_in_convolutions():
            # A product added in place: the largest of all the gradients, at no extra pass.
            into.view(*into.shape[:2], -1).mT.baddbmm_(mine.flatten(2).mT, factor)
