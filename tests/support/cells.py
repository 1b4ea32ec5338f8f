"""Cells, networks and engines, and the plain implementation of the same cell."""

from collections.abc import Sequence
from functools import cache

import torch

from nst.core.cell import Cell
from nst.core.engine import Engine, save_points
from nst.core.optimizers.adam import AdamConfig
from nst.core.optimizers.lbfgs import LBFGSConfig
from nst.core.painter import Painter
from nst.core.scales import Scale
from nst.core.vgg import VGG
from nst.io.weights import load_weights

from .plain import PlainCell

SEED = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
README = (3.90625, 0.9765625, 0.06103515625, 0.0152587890625, 0.003814697265625)


def image(seed: int, size: int = 24, width: int | None = None) -> torch.Tensor:
    return torch.rand(3, size, width or size, generator=torch.Generator().manual_seed(seed))


def network(name: str, cells: list[Cell], dtype: torch.dtype = torch.float64, **options) -> VGG:
    taps = set().union(*(cell.taps() for cell in cells))
    return VGG(name, load_weights(name, "imagenet").tensors, taps, dtype=dtype, **options)


@cache
def double(name: str) -> dict[str, torch.Tensor]:
    """The weights of a network in float64."""
    return {key: tensor.double() for key, tensor in load_weights(name, "imagenet").tensors.items()}


def plain(cell: Cell, name: str = "vgg16", **options) -> PlainCell:
    return PlainCell(
        cell.content,
        cell.styles[0],
        list(cell.content_layers),
        dict(cell.style_layers),
        cell.activation,
        cell.content_weight,
        cell.style_weight,
        cell.tv_weight,
        name,
        tensors=double(name),
        **options,
    )


def readme_cell(
    content_layer: str = "conv2_1", *, activation: str = "conv", size: int = 32, layers: Sequence[str] = SEED
) -> Cell:
    """A cell of the README's; of the first of its style `layers` alone the network is not deep, and fast."""
    styles = dict(zip(layers, README, strict=False))
    images = image(0, size), (image(1, size),)
    return Cell(*images, {content_layer: 1.0}, styles, activation, 5.0, 7000.0, 1.2)


def painter(
    cells, starts, kind, lr=None, *, scales=None, dtype=torch.float64, device="cpu", **options
) -> Painter:
    """Of one scale, if not said otherwise, of so many iterations that no test comes to its end."""
    config = AdamConfig if kind == "adam" else LBFGSConfig
    rates = lr or [config().lr] * len(cells)
    return Painter(
        network("vgg16", cells, dtype, device=device),
        cells,
        [config(lr=rate) for rate in rates],
        scales or [Scale(max(cells[0].content.shape[1:]), 10_000)],
        lambda cells: torch.stack(starts),
        **options,
    )


def engine(*cells_and_more, **options) -> Engine:
    return painter(*cells_and_more, **options).engine


def painted(engine: Engine, iterations: int, save_every: int = 5):
    """Canvas at each save point still to come, and the losses of all iterations still to come."""
    begun, snapshots = engine.done, list(engine.paint(iterations, save_every))
    frames = [s for s in snapshots if s.canvas is not None]
    wanted = [point for point in save_points(iterations, save_every) if point >= begun]
    assert [s.iteration for s in frames] == wanted
    losses = torch.cat([s.losses for s in snapshots])
    assert len(losses) == iterations - begun
    return [s.canvas for s in frames], losses
