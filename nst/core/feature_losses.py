"""Losses of the features at one tap, each an option of `content_loss` or `style_loss`.

A loss says what to remember of its image's features, and how far a canvas's features are from that. Its
gradient with respect to the features is autograd's, or that of a `Term` of its own, written by hand.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nst.core import losses
from nst.core.options import Option


class Rows:
    """Some rows of a batch: a slice where they are neighbours, because a slice costs no copy."""

    def __init__(self, rows: Sequence[int], device: torch.device) -> None:
        first, end = rows[0], rows[-1] + 1
        self.neighbours = slice(first, end) if end - first == len(rows) else None
        self.index = torch.tensor(rows, device=device)

    def of(self, x: Tensor) -> Tensor:
        """These rows of `x`."""
        return x[self.neighbours] if self.neighbours else x.index_select(0, self.index)

    @contextmanager
    def of_in_place(self, x: Tensor) -> Iterator[Tensor]:
        """These rows of `x`, to be changed in place: `x` has the changes afterwards."""
        mine = self.of(x)
        yield mine
        if self.neighbours is None:
            x.index_copy_(0, self.index, mine)


class Term:
    """A loss at one tap, for the rows that have it.

    Args:
        rows: which.
        column: of the values `[B, T]` to write.
        weight: `[b]`, of each row's loss in its total.
    """

    def __init__(self, rows: Rows, column: int, weight: Tensor) -> None:
        self.rows, self.column, self.weight = rows, column, weight

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        """Write this term's values into its column of `values` `[B, T]`."""
        raise NotImplementedError

    def add_gradient(self, features: Tensor, gradient: Tensor) -> None:
        """Add the weighted derivative with respect to `features` to `gradient`, both `[B, C, H, W]`."""
        raise NotImplementedError

    def _write(self, values: Tensor, mine: Tensor) -> None:
        with self.rows.of_in_place(values[:, self.column]) as into:
            into.copy_(mine)


@dataclass
class FeatureLoss(Option):
    """A loss of features against those of an image.

    Attributes:
        copies: memory that a row takes at each tap, as multiples of its features in the canvas's dtype.
    """

    copies: ClassVar[float] = 4.0  # autograd's, about

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

    def term(self, rows: Rows, column: int, weight: Tensor, features: Sequence[Tensor]) -> Term:
        """This loss for some rows, given the features `[1, C, H, W]` of each row's image."""
        return AutogradTerm(self, rows, column, weight, features)

    def _targets(self, features: Sequence[Tensor]) -> Tensor:
        """The target of each row, computed once for rows that share an image."""
        known = {id(f): self.target(f) for f in features}
        return _stack([known[id(f)] for f in features])


class AutogradTerm(Term):
    """A loss whose gradient is left to autograd, on the features alone."""

    def __init__(
        self, loss: FeatureLoss, rows: Rows, column: int, weight: Tensor, features: Sequence[Tensor]
    ) -> None:
        super().__init__(rows, column, weight)
        self.loss = loss
        self.target = loss._targets([f.to(weight.dtype) for f in features])
        self.gradient = self.target  # of the latest evaluation

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        mine = self.rows.of(features).detach().to(self.weight.dtype).requires_grad_()
        with torch.enable_grad():
            value = self.loss.value(mine, self.target)
        self._write(values, value.detach())
        (self.gradient,) = torch.autograd.grad(value, mine, self.weight)

    def add_gradient(self, features: Tensor, gradient: Tensor) -> None:
        with self.rows.of_in_place(gradient) as into:
            into += self.gradient.to(gradient.dtype)


@dataclass
class ContentLoss(FeatureLoss):
    """A loss against the content image's features."""

    group: ClassVar[str] = "content_loss"


@dataclass
class StyleLoss(FeatureLoss):
    """A loss against the style image's features."""

    group: ClassVar[str] = "style_loss"


@dataclass
class MSE(ContentLoss):
    """Mean squared difference of feature maps (Gatys et al., CVPR 2016, eq. 1)."""

    copies: ClassVar[float] = 0.0  # within those of the network's pass

    name: str = "mse"

    def term(self, rows: Rows, column: int, weight: Tensor, features: Sequence[Tensor]) -> Term:
        return ContentTerm(rows, column, weight, self._targets(features))


class ContentTerm(Term):
    """Feature maps against those of the content image."""

    def __init__(self, rows: Rows, column: int, weight: Tensor, target: Tensor) -> None:
        super().__init__(rows, column, weight)
        self.target = target

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        value = losses.content_loss(self.rows.of(features), self.target)
        self._write(values, value)

    def add_gradient(self, features: Tensor, gradient: Tensor) -> None:
        with self.rows.of_in_place(gradient) as mine:
            losses.add_content_gradient(mine, self.rows.of(features), self.target, self.weight)


@dataclass
class Gram(StyleLoss):
    """Mean squared difference of Gram matrices (Gatys et al., CVPR 2016, eq. 3 to 5)."""

    copies: ClassVar[float] = 0.0  # matrices are small beside features

    name: str = "gram"

    def target(self, features: Tensor) -> Tensor:
        return losses.gram_matrix(features)

    def term(self, rows: Rows, column: int, weight: Tensor, features: Sequence[Tensor]) -> Term:
        return StyleTerm(rows, column, weight, self._targets(features))


class StyleTerm(Term):
    """Gram matrices against those of the style image."""

    def __init__(self, rows: Rows, column: int, weight: Tensor, target: Tensor) -> None:
        super().__init__(rows, column, weight)
        self.target = target
        self.factor = target  # of the latest evaluation; what the backward pass needs of it

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        mine = self.rows.of(features)
        positions = mine.shape[2] * mine.shape[3]
        difference = losses.gram_matrix(mine) - self.target
        self._write(values, losses.style_loss(difference))
        self.factor = losses.style_gradient_factor(difference, positions, self.weight)

    def add_gradient(self, features: Tensor, gradient: Tensor) -> None:
        mine = self.rows.of(features)
        # The factor is symmetric, so positions can come first: the layout that is contiguous in
        # channels_last, and the only one with a fast bfloat16 product on the CPU.
        factor = self.factor.to(features.dtype)
        with self.rows.of_in_place(gradient) as into:
            # A product added in place: the largest of all the gradients, at no extra pass.
            into.view(*into.shape[:2], -1).mT.baddbmm_(mine.flatten(2).mT, factor)


def _stack(targets: Sequence[Tensor]) -> Tensor:
    """Targets `[1, ...]` of each row as `[b, ...]`, or `[1, ...]` where all rows share one."""
    if all(target is targets[0] for target in targets):
        return targets[0]
    return torch.cat(list(targets))
