"""What a cell's terms aim at: targets of its images, of each style and each region."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nst.core.cell import Cell
from nst.core.losses import FeatureLoss
from nst.core.losses.term import of_region
from nst.core.network import Network, Tap
from nst.core.regions import positions


@dataclass(frozen=True)
class Goal:
    """What a term of one row aims at.

    Attributes:
        target: `[1, ...]` as the loss has it.
        share: `[1]`, of this goal in the value of its layer, times the loss's scale.
        positions: of the region that it is about; None is the whole canvas.
    """

    loss: FeatureLoss
    target: Tensor
    share: Tensor
    positions: Tensor | None

    @property
    def key(self) -> tuple[Any, ...]:
        """What rows have in common that can be computed together."""
        return repr(self.loss), self.target.shape, id(self.positions)


class Goals:
    """The goals of cells, each computed once, of images passed through the network once and alone.

    Alone, so that a cell's targets are the same bits whichever batch the cell is in. Only what some cell
    wants of an image is kept: of a large one that is most of the memory.
    """

    def __init__(self, network: Network[Any], cells: Sequence[Cell]) -> None:
        self.network = network
        self._wanted: dict[int, set[Tap]] = {}
        for cell in cells:
            content, style = (
                {Tap(layer, cell.activation) for layer in layers}
                for layers in (cell.content_layers, cell.style_layers)
            )
            # Regions of the canvas are those of the content image's features.
            self._wanted.setdefault(id(cell.content), set()).update(
                content, style if cell.content_mask is not None else ()
            )
            for image in cell.styles:
                self._wanted.setdefault(id(image), set()).update(style)
        self._features: dict[int, dict[Tap, Tensor]] = {}
        self._regions: dict[tuple[int, int, int], list[Tensor]] = {}
        self._goals: dict[tuple[Any, ...], list[Goal]] = {}

    def __call__(self, cell: Cell, kind: str, tap: Tap) -> list[Goal]:
        """Of the `content` or the `style` of a cell at a tap: one, or one a style and region."""
        loss = cell.loss(kind)
        images = [cell.content] if kind == "content" else list(cell.styles)
        masks = (cell.content_mask, cell.style_mask) if kind == "style" else (None, None)
        weights = cell.blend if kind == "style" else (1.0,)
        shape = None if masks[0] is None else id(cell.content)  # which its regions are of
        key = (kind, tap, repr(loss), weights, shape, *map(id, (*images, *masks)))
        if key not in self._goals:
            features = [self._of(image, tap) for image in images]
            if masks[0] is None:
                goals = _goals(loss, features, weights)
            else:
                goals = self._of_regions(loss, self._of(cell.content, tap), features, masks[0], masks[1])
            self._goals[key] = goals
        return self._goals[key]

    def _of_regions(
        self,
        loss: FeatureLoss,
        content: Tensor,
        styles: Sequence[Tensor],
        content_mask: Tensor,
        style_mask: Tensor | None,
    ) -> list[Goal]:
        """A goal a region, each with the share of the canvas that it has."""
        regions = self._positions(content_mask, content)
        if style_mask is not None:
            sources = [of_region(styles[0], place) for place in self._positions(style_mask, styles[0])]
        else:
            sources = list(styles)
        found = []
        for mine, source in zip(regions, sources, strict=True):
            share = len(mine) / content[0, 0].numel()
            found += _goals(loss, [source], [1.0], share, mine)
        return found

    def _positions(self, mask: Tensor, features: Tensor) -> list[Tensor]:
        height, width = features.shape[2:]
        key = id(mask), height, width
        if key not in self._regions:
            self._regions[key] = [each.to(self.network.device) for each in positions(mask, height, width)]
        return self._regions[key]

    def _of(self, image: Tensor, tap: Tap) -> Tensor:
        """An image's features, `[1, C, H, W]`, in float32 at least."""
        if id(image) not in self._features:
            rows = image.unsqueeze(0).to(self.network.device, self.network.wide)
            features = self.network.forward(rows).features
            self._features[id(image)] = {wanted: features[wanted] for wanted in self._wanted[id(image)]}
        return self._features[id(image)][tap].to(self.network.wide)


def _goals(
    loss: FeatureLoss,
    features: Sequence[Tensor],
    weights: Sequence[float],
    share: float = 1.0,
    mine: Tensor | None = None,
) -> list[Goal]:
    """A goal for images as one where the loss blends them, otherwise one for each, all of one scale."""
    targets = [loss.target(each) for each in features]
    reference = _mean([loss.reference(each) for each in features], weights)
    if loss.blends:
        target = _mean(targets, weights)
        return [Goal(loss, target, share * loss.scale(target, features[0], reference), mine)]
    each = [loss.scale(target, image, reference) for target, image in zip(targets, features, strict=True)]
    # Features of 0 lose the reference by the sum. Were each scaled alone, the loudest style would win.
    scale = 1 / _mean([1 / one for one in each], weights)
    return [
        Goal(loss, target, share * weight * scale, mine)
        for target, weight in zip(targets, weights, strict=True)
    ]


def _mean(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mean; of one it is that, to the last bit."""
    if len(tensors) == 1:
        return tensors[0]
    return torch.stack([x * weight for x, weight in zip(tensors, weights, strict=True)]).sum(0)
