"""A loss at one tap of the network, for the rows that have it: its value and its gradient."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """Sums over thousands of positions are taken in float32 at least."""
    return x if x.dtype == torch.float64 else x.float()


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


@dataclass(frozen=True)
class Place:
    """Where a term is, and what it counts.

    Attributes:
        rows: which.
        column: of the values `[B, T]` to add to.
        share: `[b]`, of the loss in its column: that of a region or a style, times the loss's scale.
        weight: `[b]`, of the loss in each row's total; the share is in it.
        positions: `[n]`, of the region that the term is about, in rows of the feature map; None is all.
    """

    rows: Rows
    column: int
    share: Tensor
    weight: Tensor
    positions: Tensor | None = None

    def of(self, features: Tensor) -> Tensor:
        """What a term is about: `[b, C, H, W]` of `[B, C, H, W]`, or `[b, C, n, 1]` of a region."""
        mine = self.rows.of(features)
        return mine if self.positions is None else of_region(mine, self.positions)

    @contextmanager
    def of_in_place(self, gradient: Tensor) -> Iterator[Tensor]:
        """The same of a gradient, to be changed in place: `gradient` has the changes afterwards."""
        with self.rows.of_in_place(gradient) as mine:
            if self.positions is None:
                yield mine
            else:
                region = of_region(mine, self.positions)
                yield region
                mine.view(*mine.shape[:2], -1).index_copy_(2, self.positions, region.squeeze(3))

    def add(self, values: Tensor, mine: Tensor) -> None:
        """Add the losses `mine` `[b]` to their column of `values` `[B, T]`."""
        with self.rows.of_in_place(values[:, self.column]) as into:
            into.addcmul_(mine, self.share)


def of_region(features: Tensor, positions: Tensor) -> Tensor:
    """The features `[b, C, n, 1]` at some positions of `[b, C, H, W]`."""
    # Positions first: each has its channels together in channels_last.
    return features.flatten(2).mT.index_select(1, positions).mT.unsqueeze(3)


class Term:
    """A loss at one tap, for the rows that have it.

    Args:
        place: of the term.
        target: `[b, ...]` what the loss remembers of each row's image; `[1, ...]` where all share it.
    """

    def __init__(self, place: Place, target: Tensor) -> None:
        self.place, self.target = place, target

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        """Add this term's values to its column of `values` `[B, T]`."""
        raise NotImplementedError

    def add_gradient(self, features: Tensor, gradient: Tensor) -> None:
        """Add the weighted derivative with respect to `features` to `gradient`, both `[B, C, H, W]`."""
        raise NotImplementedError
