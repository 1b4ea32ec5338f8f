"""Losses of the features at one tap, each an option of `content_loss` or `style_loss`.

A loss says what to remember of its image's features, and how far a canvas's features are from that. Its
gradient with respect to the features is autograd's, or that of a `Term` of its own, written by hand.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nst.core.losses.gram_matrix import gram_matrix, style_loss
from nst.core.losses.term import Place, Term, wide
from nst.core.options import Option


@dataclass
class FeatureLoss(Option):
    """A loss of features against those of an image.

    Features of a region have the shape `[b, C, n, 1]`.

    Attributes:
        copies: memory that a row takes at each tap, as multiples of its features in the canvas's dtype.
        blends: whether several images are painted after as one, whose target is the weighted mean of theirs;
            otherwise the loss is the weighted sum of the losses to each.
    """

    copies: ClassVar[float] = 4.0  # autograd's, about
    blends: ClassVar[bool] = False

    def target(self, features: Tensor) -> Tensor:
        """What is remembered of an image's features `[1, C, H, W]`: `[1, ...]`."""
        return features

    def value(self, features: Tensor, target: Tensor) -> Tensor:
        """The loss of each row, `[b]`, by operations that autograd knows, without a value on the host.

        Args:
            features: `[b, C, H, W]`, in float32 at least.
            target: `[b, ...]`, or `[1, ...]` where all rows share an image.
        """
        raise NotImplementedError

    def reference(self, features: Tensor) -> Tensor:
        """What features of 0 are to lose against the image of `features` `[1, C, H, W]`: `[1]`.

        It is what the first loss of the group says of them, so that `weights.content` and `weights.style`
        mean the same for every loss, at every layer.
        """
        raise NotImplementedError

    def scale(self, target: Tensor, features: Tensor, reference: Tensor) -> Tensor:
        """What makes the loss of features of 0 the `reference`: `[1]`; 1 where that is 0."""
        empty = self.value(torch.zeros_like(features), target)
        return torch.where(empty > 0, reference / empty, 1.0)

    def term(self, place: Place, target: Tensor) -> Term:
        """This loss for some rows."""
        return AutogradTerm(self, place, target)


class AutogradTerm(Term):
    """A loss whose gradient is left to autograd, on the features alone."""

    def __init__(self, loss: FeatureLoss, place: Place, target: Tensor) -> None:
        super().__init__(place, target)
        self.loss = loss
        self.gradient = target  # of the latest evaluation

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        mine = self.place.of(features).detach().to(self.place.weight.dtype).requires_grad_()
        with torch.enable_grad():
            value = self.loss.value(mine, self.target)
        self.place.add(values, value.detach())
        (self.gradient,) = torch.autograd.grad(value, mine, self.place.weight)

    def add_gradient(self, features: Tensor, gradient: Tensor) -> None:
        with self.place.of_in_place(gradient) as into:
            into += self.gradient.to(gradient.dtype)


@dataclass
class ContentLoss(FeatureLoss):
    """A loss against the content image's features."""

    group: ClassVar[str] = "content_loss"

    def reference(self, features: Tensor) -> Tensor:
        """That of `mse`."""
        return wide(features).square().mean((1, 2, 3))


@dataclass
class StyleLoss(FeatureLoss):
    """A loss against the style image's features."""

    group: ClassVar[str] = "style_loss"

    def reference(self, features: Tensor) -> Tensor:
        """That of `gram`."""
        return style_loss(gram_matrix(features))
