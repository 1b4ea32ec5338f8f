"""Many cells as one differentiable function: `[B, 3, H, W]` to each row's losses and gradient."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from nst.core import losses
from nst.core.rows import ordered_sum, parts
from nst.core.vgg import LAYERS, VGG, Tap

# The first columns of a record of losses; a column for each layer's term follows.
SUMS = ("total", "content", "style", "tv")


@dataclass(frozen=True)
class Cell:
    """What one row of a batch is painted after.

    Attributes:
        content, style: images `[3, H, W]` in [0, 1], all of one size.
        content_layers, style_layers: the weight of each selected layer in its sum; may be empty.
        activation: `conv` or `relu`: features before or after the ReLU behind each layer.
        content_weight, style_weight, tv_weight: of the three sums (the seed's alpha, beta, gamma).
    """

    content: Tensor
    style: Tensor
    content_layers: Mapping[str, float]
    style_layers: Mapping[str, float]
    activation: str
    content_weight: float
    style_weight: float
    tv_weight: float

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
        self.network, self.cells = network, tuple(cells)
        self._parts = parts(len(cells), network.device)
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
        run = self.network.forward(canvas)
        values = canvas.new_zeros(len(self.cells), len(self.columns) - len(SUMS))
        for tap, terms in self._terms.items():
            for term in terms:
                term.evaluate(run.features[tap], values)
        layered = ordered_sum(self._layer_weights * values.unsqueeze(1))
        rough = torch.cat([losses.total_variation(canvas[rows]) for rows in self._parts])
        sums = torch.cat([layered, rough.unsqueeze(1)], 1)
        total = ordered_sum(sums * self._sum_weights)

        def add_gradient(tap: Tap, gradient: Tensor) -> None:
            for term in self._terms[tap]:
                term.add_gradient(run.features[tap], gradient)

        gradient = losses.total_variation_gradient(canvas, self._sum_weights[:, 2])
        if self._terms:
            gradient += self.network.backward(run, add_gradient)
        return torch.cat([total.unsqueeze(1), sums, values], 1), gradient

    def _on_device(self, values: list[Any]) -> Tensor:
        return torch.tensor(values, dtype=self.network.wide, device=self.network.device)

    def _prepare(self, terms: Sequence[tuple[str, str]]) -> "dict[Tap, list[_Term]]":
        """Group the rows that share a term at a tap, and compute their targets."""
        images = _ImageFeatures(self.network)
        prepared: dict[Tap, list[_Term]] = {tap: [] for tap in sorted(self.network.taps)}
        for column, (kind, layer) in enumerate(terms):
            for activation, some in product(("conv", "relu"), self._parts):
                tap = Tap(layer, activation)
                rows = [
                    row
                    for row in range(some.start, some.stop)
                    if layer in self.cells[row].layers(kind) and self.cells[row].activation == activation
                ]
                if not rows:
                    continue
                side = int(kind == "style")
                weight = self._sum_weights[rows, side] * self._layer_weights[rows, side, column]
                features = [images(self.cells[row].image(kind), tap) for row in rows]
                term = ContentTerm if kind == "content" else StyleTerm
                prepared[tap].append(term(_Rows(rows, self.network.device), column, weight, features))
        return prepared


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


class _Rows:
    """Some rows of a batch: a slice where they are neighbours, because a slice costs no copy."""

    def __init__(self, rows: Sequence[int], device: torch.device) -> None:
        first, end = rows[0], rows[-1] + 1
        self.neighbours = slice(first, end) if end - first == len(rows) else None
        self.index = torch.tensor(rows, device=device)

    def of(self, x: Tensor) -> Tensor:
        return x[self.neighbours] if self.neighbours else x.index_select(0, self.index)

    @contextmanager
    def of_in_place(self, x: Tensor) -> Iterator[Tensor]:
        """These rows of `x`, to be changed in place: `x` has the changes afterwards."""
        mine = self.of(x)
        yield mine
        if self.neighbours is None:
            x.index_copy_(0, self.index, mine)


class _Term:
    """One layer's loss, for the rows that have it."""

    def __init__(self, rows: _Rows, column: int, weight: Tensor) -> None:
        self.rows, self.column = rows, column
        self.weight = weight  # [b], in the row's total

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        """Write this term's values into its column of `values` `[B, T]`."""
        raise NotImplementedError

    def add_gradient(self, features: Tensor, gradient: Tensor) -> None:
        """Add the weighted derivative with respect to `features` to `gradient`, both `[B, C, H, W]`."""
        raise NotImplementedError

    def _write(self, values: Tensor, mine: Tensor) -> None:
        with self.rows.of_in_place(values[:, self.column]) as into:
            into.copy_(mine)


class ContentTerm(_Term):
    """Feature maps against those of the content image."""

    def __init__(self, rows: _Rows, column: int, weight: Tensor, features: Sequence[Tensor]) -> None:
        super().__init__(rows, column, weight)
        self.target = _stack(features)

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        value = losses.content_loss(self.rows.of(features), self.target)
        self._write(values, value)

    def add_gradient(self, features: Tensor, gradient: Tensor) -> None:
        with self.rows.of_in_place(gradient) as mine:
            losses.add_content_gradient(mine, self.rows.of(features), self.target, self.weight)


class StyleTerm(_Term):
    """Gram matrices against those of the style image."""

    def __init__(self, rows: _Rows, column: int, weight: Tensor, features: Sequence[Tensor]) -> None:
        super().__init__(rows, column, weight)
        grams = {id(f): losses.gram_matrix(f) for f in features}
        self.target = _stack([grams[id(f)] for f in features])
        self.factor = self.target  # of the latest evaluation; what the backward pass needs of it

    def evaluate(self, features: Tensor, values: Tensor) -> None:
        mine = self.rows.of(features)
        positions = mine.shape[2] * mine.shape[3]
        difference = losses.gram_matrix(mine) - self.target
        self._write(values, losses.style_loss(difference, positions))
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
