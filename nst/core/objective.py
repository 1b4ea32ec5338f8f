"""Many cells as one differentiable function: `[B, 3, H, W]` to each row's losses and gradient."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from nst.core.cell import SUMS, Cell
from nst.core.color import as_seen, of_canvas
from nst.core.goals import Goal, Goals
from nst.core.losses import Place, Rows, Term
from nst.core.losses.total_variation import total_variation, total_variation_gradient
from nst.core.network import Network, Tap
from nst.core.rows import ordered_sum, parts
from nst.core.streams import side_stream


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

    def __init__(self, network: Network[Any], cells: Sequence[Cell]) -> None:
        self.network, self.cells = network, tuple(_as_seen(cells))
        self._parts = parts(len(cells), network.device)
        ones = [cell.color.one_channel for cell in cells]
        rows = torch.tensor(ones, device=network.device).view(-1, 1, 1, 1)
        self._one_channel = rows if any(ones) else None
        terms = [
            (kind, layer)
            for kind in ("content", "style")
            for layer in network.layers
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
        self._side = side_stream(self._sum_weights.device)
        self._terms = self._prepare(terms)
        self._rows = _needed(network.layers, self.cells)

    @torch.no_grad()
    def __call__(self, canvas: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate, without a synchronisation with the host.

        Args:
            canvas: `[B, 3, H, W]`, float32 (float64 for a float64 network).

        Returns:
            Losses `[B, K]`, and the gradient of each row's total `[B, 3, H, W]`, in the canvas's dtype.
        """
        seen = as_seen(canvas, self._one_channel)
        values = canvas.new_zeros(len(self.cells), len(self.columns) - len(SUMS))

        def evaluate(tap: Tap, features: Tensor) -> None:
            with self._side.forked():
                for term in self._terms[tap]:
                    term.evaluate(features, values)

        def add_gradient(tap: Tap, gradient: Tensor) -> None:
            for term in self._terms[tap]:
                term.add_gradient(run.features[tap], gradient)

        run = self.network.forward(seen, self._rows, evaluate)
        self._side.join()
        with self._side.forked():
            layered = ordered_sum(self._layer_weights * values.unsqueeze(1))
            rough = torch.cat([total_variation(seen[rows]) for rows in self._parts])
            sums = torch.cat([layered, rough.unsqueeze(1)], 1)
            total = ordered_sum(sums * self._sum_weights)
            losses = torch.cat([total.unsqueeze(1), sums, values], 1)
            gradient = total_variation_gradient(seen, self._sum_weights[:, 2])
        features = self.network.backward(run, add_gradient) if self._terms else None
        self._side.join()
        if features is not None:
            gradient += features
        return losses, of_canvas(gradient, self._one_channel)

    def _on_device(self, values: list[Any]) -> Tensor:
        return torch.tensor(values, dtype=self.network.wide, device=self.network.device)

    def _prepare(self, terms: Sequence[tuple[str, str]]) -> dict[Tap, list[Term]]:
        """Group the rows that share a term at a tap, and compute their targets."""
        goals = Goals(self.network, self.cells)
        prepared: dict[Tap, list[Term]] = {tap: [] for tap in sorted(self.network.taps)}
        for column, (kind, layer) in enumerate(terms):
            for activation, some in product(("conv", "relu"), self._parts):
                tap = Tap(layer, activation)
                sharing: dict[tuple[Any, ...], list[tuple[int, Goal]]] = {}
                for row in range(some.start, some.stop):
                    cell = self.cells[row]
                    if layer in cell.layers(kind) and cell.activation == activation:
                        for number, goal in enumerate(goals(cell, kind, tap)):
                            sharing.setdefault((number, *goal.key), []).append((row, goal))
                side = int(kind == "style")
                for each in sharing.values():
                    rows, first = [row for row, _ in each], each[0][1]
                    share = torch.cat([goal.share for _, goal in each])
                    weight = self._sum_weights[rows, side] * self._layer_weights[rows, side, column] * share
                    place = Place(Rows(rows, self.network.device), column, share, weight, first.positions)
                    term = first.loss.term(place, _stack([goal.target for _, goal in each]))
                    prepared[tap].append(term)
        return prepared


def _as_seen(cells: Sequence[Cell]) -> Iterator[Cell]:
    """The cells with their images as the network is given them; those that share one go on sharing it."""
    known: dict[tuple[str, int, int], Tensor] = {}
    for cell in cells:
        name, color, content = repr(cell.color), cell.color, cell.content
        yield replace(
            cell,
            content=known.setdefault((name, id(content), 0), color.content(content)),
            styles=tuple(
                known.setdefault((name, id(content), id(style)), color.style(style, content))
                for style in cell.styles
            ),
        )


def _needed(layers: Sequence[str], cells: Sequence[Cell]) -> dict[str, int]:
    """For each layer, how many rows are needed there: up to the last that has a term there or deeper.

    One at least: the network may be deeper than all cells.
    """
    depths = [max((layers.index(tap.layer) for tap in cell.taps()), default=-1) for cell in cells]
    return {
        layer: max((row + 1 for row, depth in enumerate(depths) if depth >= number), default=1)
        for number, layer in enumerate(layers)
    }


def _stack(targets: Sequence[Tensor]) -> Tensor:
    """Targets `[1, ...]` of each row as `[b, ...]`, or `[1, ...]` where all rows share one."""
    if all(target is targets[0] for target in targets):
        return targets[0]
    return torch.cat(list(targets))
