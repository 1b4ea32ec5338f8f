"""Many cells as one differentiable function: `[B, 3, H, W]` to each row's losses and gradient."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from nst.core import losses
from nst.core.color import Color, StyleColors, as_seen, of_canvas
from nst.core.feature_losses import MSE, ContentLoss, FeatureLoss, Gram, Rows, StyleLoss, Term
from nst.core.rows import ordered_sum, parts
from nst.core.vgg import LAYERS, VGG, Tap

# The first columns of a record of losses; a column for each layer's term follows.
SUMS = ("total", "content", "style", "tv")


@dataclass(frozen=True)
class Cell:
    """What one row of a batch is painted after.

    Attributes:
        content, style: images `[3, H, W]` in [0, 1]; the canvas has the shape of the content image, the style
            image one of its own.
        content_layers, style_layers: the weight of each selected layer in its sum; may be empty.
        activation: `conv` or `relu`: features before or after the ReLU behind each layer.
        content_weight, style_weight, tv_weight: of the three sums (the seed's alpha, beta, gamma).
        content_loss, style_loss: what is summed over the layers.
        color: what becomes of colours.
    """

    content: Tensor
    style: Tensor
    content_layers: Mapping[str, float]
    style_layers: Mapping[str, float]
    activation: str
    content_weight: float
    style_weight: float
    tv_weight: float
    content_loss: ContentLoss = field(default_factory=MSE)
    style_loss: StyleLoss = field(default_factory=Gram)
    color: Color = field(default_factory=StyleColors)

    def taps(self) -> set[Tap]:
        """Where this cell reads the network."""
        return {Tap(layer, self.activation) for layer in (*self.content_layers, *self.style_layers)}

    def columns(self) -> tuple[str, ...]:
        """The names of this cell's losses: the sums, then its layers' terms."""
        return (
            *SUMS,
            *(f"content/{layer}" for layer in self.content_layers),
            *(f"style/{layer}" for layer in self.style_layers),
        )

    def layers(self, kind: str) -> Mapping[str, float]:
        """The layers of one kind of term, `content` or `style`."""
        return self.content_layers if kind == "content" else self.style_layers

    def image(self, kind: str) -> Tensor:
        """The image of one kind of term."""
        return self.content if kind == "content" else self.style

    def loss(self, kind: str) -> FeatureLoss:
        """The loss of one kind of term."""
        return self.content_loss if kind == "content" else self.style_loss


class Objective:
    """Losses and gradient of B cells in one pass through the network.

    Terms that no cell uses are not computed. Targets are computed once, here, and once for cells that share
    an image. On CUDA a Gram matrix is one batched product over all rows that need it at that tap; on the CPU
    each row has its own, so that its losses and gradient are the same bits in any batch (`nst.core.rows`).

    Attributes:
        cells: the B cells, one a row.
        columns: names of the K losses: `total, content, style, tv`, then a term for each layer in use.
            Terms are unweighted; sums carry their layers' weights, the total those of the sums as
            well. A row holds 0 for terms that its cell does not have.
    """

    def __init__(self, network: VGG, cells: Sequence[Cell]) -> None:
        self.network, self.cells = network, tuple(_as_seen(cells))
        self._parts = parts(len(cells), network.device)
        ones = [cell.color.one_channel for cell in cells]
        rows = torch.tensor(ones, device=network.device).view(-1, 1, 1, 1)
        self._one_channel = rows if any(ones) else None
        terms = [
            (kind, layer)
            for kind in ("content", "style")
            for layer in LAYERS[network.name]
            if any(layer in cell.layers(kind) for cell in cells)
        ]
        self.columns = (*SUMS, *(f"{kind}/{layer}" for kind, layer in terms))
        sum_weights = [[c.content_weight, c.style_weight, c.tv_weight] for c in cells]
        layer_weights = [
            [
                [cell.layers(kind).get(layer, 0.0) if kind == side else 0.0 for kind, layer in terms]
                for side in ("content", "style")
            ]
            for cell in cells
        ]
        self._sum_weights = self._on_device(sum_weights)  # [B, 3]
        self._layer_weights = self._on_device(layer_weights)  # [B, 2, T]
        self._terms = self._prepare(terms)

    @torch.no_grad()
    def __call__(self, canvas: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate, without a synchronisation with the host.

        Args:
            canvas: `[B, 3, H, W]`, float32 (float64 for a float64 network).

        Returns:
            Losses `[B, K]`, and the gradient of each row's total `[B, 3, H, W]`, in the canvas's dtype.
        """
        seen = as_seen(canvas, self._one_channel)
        run = self.network.forward(seen)
        values = canvas.new_zeros(len(self.cells), len(self.columns) - len(SUMS))
        for tap, terms in self._terms.items():
            for term in terms:
                term.evaluate(run.features[tap], values)
        layered = ordered_sum(self._layer_weights * values.unsqueeze(1))
        rough = torch.cat([losses.total_variation(seen[rows]) for rows in self._parts])
        sums = torch.cat([layered, rough.unsqueeze(1)], 1)
        total = ordered_sum(sums * self._sum_weights)

        def add_gradient(tap: Tap, gradient: Tensor) -> None:
            for term in self._terms[tap]:
                term.add_gradient(run.features[tap], gradient)

        gradient = losses.total_variation_gradient(seen, self._sum_weights[:, 2])
        if self._terms:
            gradient += self.network.backward(run, add_gradient)
        gradient = of_canvas(gradient, self._one_channel)
        return torch.cat([total.unsqueeze(1), sums, values], 1), gradient

    def _on_device(self, values: list[Any]) -> Tensor:
        return torch.tensor(values, dtype=self.network.wide, device=self.network.device)

    def _prepare(self, terms: Sequence[tuple[str, str]]) -> dict[Tap, list[Term]]:
        """Group the rows that share a term at a tap, and compute their targets."""
        images = _ImageFeatures(self.network)
        prepared: dict[Tap, list[Term]] = {tap: [] for tap in sorted(self.network.taps)}
        for column, (kind, layer) in enumerate(terms):
            for activation, some in product(("conv", "relu"), self._parts):
                tap = Tap(layer, activation)
                sharing: dict[str, list[int]] = {}  # a loss with its settings, and the rows that have it
                for row in range(some.start, some.stop):
                    cell = self.cells[row]
                    if layer in cell.layers(kind) and cell.activation == activation:
                        sharing.setdefault(repr(cell.loss(kind)), []).append(row)
                side = int(kind == "style")
                for rows in sharing.values():
                    weight = self._sum_weights[rows, side] * self._layer_weights[rows, side, column]
                    features = [images(self.cells[row].image(kind), tap) for row in rows]
                    loss = self.cells[rows[0]].loss(kind)
                    term = loss.term(Rows(rows, self.network.device), column, weight, features)
                    prepared[tap].append(term)
        return prepared


def _as_seen(cells: Sequence[Cell]) -> Iterator[Cell]:
    """The cells with their images as the network is given them; those that share one go on sharing it."""
    known: dict[tuple[str, int, int], Tensor] = {}
    for cell in cells:
        name, content, style = repr(cell.color), cell.content, cell.style
        yield replace(
            cell,
            content=known.setdefault((name, id(content), 0), cell.color.content(content)),
            style=known.setdefault((name, id(content), id(style)), cell.color.style(style, content)),
        )


class _ImageFeatures:
    """The features of the cells' images, each image passed through the network once and alone.

    Alone, so that a cell's targets are the same bits whichever batch the cell is in.
    """

    def __init__(self, network: VGG) -> None:
        self.network = network
        self.known: dict[int, dict[Tap, Tensor]] = {}

    def __call__(self, image: Tensor, tap: Tap) -> Tensor:
        if id(image) not in self.known:
            rows = image.unsqueeze(0).to(self.network.device, self.network.wide)
            self.known[id(image)] = self.network.forward(rows).features
        return self.known[id(image)][tap]
