"""Paint cells, in batches."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from nst.api.cell import Cell, optimizer, resolve
from nst.api.images import Images, several
from nst.core import cell as core
from nst.core import networks
from nst.core.engine import Snapshot
from nst.core.init_images import File, InitImage
from nst.core.network import Tap
from nst.core.options import OPTIONS
from nst.core.painter import Painter
from nst.core.pooling import POOLINGS
from nst.core.precision import DTYPES, arithmetic, auto_precision
from nst.core.regions import check_masks
from nst.core.resizing import cover
from nst.core.scales import Scales, shape_at
from nst.core.streams import current_device
from nst.core.vgg import LAYERS
from nst.errors import NstError
from nst.io.fit import Fit
from nst.io.images import read, to_uint8
from nst.io.weights import load_weights

log = logging.getLogger(__name__)

SMALLEST = 16  # pixels a side: four poolings leave one


@dataclass(frozen=True)
class IterationInfo:
    """How far `paint` is.

    Attributes:
        iteration: evaluations done, 1 to `iterations`.
        iterations: how many there will be, at all scales.
        cells: which of the cells given to `paint` are painted at present; those of one optimizer at a time.
        losses: for each of them the losses of this iteration: `total` (weighted); `content`, `style`, `tv`,
            `content/conv4_2`, … (unweighted).
        canvases: for each of them the canvas `[3, H, W]` on the CPU that has these losses, in the size it
            has so far, or its average; None where this iteration has no frame.
    """

    iteration: int
    iterations: int
    cells: list[int]
    losses: list[dict[str, float]]
    canvases: Tensor | None


@dataclass(frozen=True)
class Painting:
    """A painted cell.

    Attributes:
        canvas: `[3, H, W]` on the CPU; values may lie outside of [0, 1], and are clamped when shown.
        losses: of each iteration, `[iterations]`, by the names that `IterationInfo` has.
        model: the network it was painted with.
        opacity: `[1, H, W]` from 0 to 1, of a content image whose transparency is kept; None is opaque.
    """

    cell: Cell
    canvas: Tensor
    losses: dict[str, Tensor]
    model: str
    opacity: Tensor | None = None

    @property
    def image(self) -> Image.Image:
        """The canvas as it is shown."""
        shown = self.canvas if self.opacity is None else torch.cat([self.canvas, self.opacity])
        return Image.fromarray(to_uint8(shown))


def paint(
    cells: Cell | Sequence[Cell],
    *,
    size: int = 256,
    fit: Literal["square", "keep", "crop"] = "keep",
    style_scale: float = 1.0,
    iterations: int = 150,
    model: str = "vgg19",
    weights: str = "imagenet",
    normalize: bool = True,
    scales: str | Scales = "pyramid",
    pooling: Literal["max", "average", "l2"] = "max",
    padding: Literal["zeros", "replicate"] | None = None,
    device: str = "auto",
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp64"] = "fp32",
    callback: Callable[[IterationInfo], object] | None = None,
    frame_every: int | None = None,
) -> list[Painting]:
    """Paint cells, those with the same optimizer and shape as the rows of one batch.

    Args:
        cells: one or several; everything may differ among them.
        size: long side of the canvas in pixels.
        fit: of the content image, and so of the canvas: `keep` its shape; `crop` its middle square; `square`,
            squashed to one, and the style image too.
        style_scale: the style image's long side, as a multiple of `size`.
        iterations: evaluations of each cell, at the first scale.
        model: the network: `vgg19`, `vgg16`, or a classification network of torchvision, such as
            `squeezenet1_1`, with its own names of layers. Where VGG-19's weights cannot be had, VGG-16 is
            taken, with a warning.
        weights: `imagenet`, `random` (for tests), or the path of a file.
        normalize: subtract ImageNet's mean and divide by its standard deviation first.
        scales: `single`, `pyramid` (`nst.core.scales.Pyramid`, with its settings), or scales of yours.
        pooling: of VGG's blocks: `max`, or `average` or `l2`, times what keeps the magnitude.
        padding: around the image, for VGG: `zeros`, or its own border, `replicate`; None is the latter.
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`.
        precision: what the network computes in; `auto` is tf32 on cards that have it, else fp32.
        callback: called about four times a second, and at each frame.
        frame_every: iterations between the frames that `callback` gets; None gives the first and the last.

    Returns:
        A painting for each cell, in order. On the CPU it has the same bits whatever it is painted with.

    Raises:
        NstError: a value that cannot be painted, an image or weights that cannot be had.
    """
    cells = [cells] if isinstance(cells, Cell) else list(cells)
    _check(cells, size, iterations, frame_every)
    _check_choice("fit", fit, Fit.__members__)
    _check_choice("precision", precision, (*DTYPES, "auto"))
    networks.check_name(model)
    _check_choice("pooling", pooling, POOLINGS if model in LAYERS else ("max",))
    padding = padding or ("replicate" if model in LAYERS else "zeros")
    _check_choice("padding", padding, ("zeros", "replicate") if model in LAYERS else ("zeros",))
    place = as_device(device)
    chosen = auto_precision(place) if precision == "auto" else precision
    network = load_weights(model, weights, fallback="vgg16" if model == "vgg19" else None)
    scales = Scales.named(scales) if isinstance(scales, str) else scales
    scales.check()
    schedule = scales.schedule(size, iterations)
    images = Images(size, Fit[fit], style_scale)
    contents = [images.content(cell.content) for cell in cells]
    for content in contents:
        height, width = shape_at(content.shape[1:], Fraction(schedule[0].size, size))
        if min(height, width) < SMALLEST:
            key = "size" if len(schedule) == 1 else "scales.smallest"
            raise NstError(
                f"{key}={schedule[0].size}: a canvas would be {width} x {height} pixels, and needs at least "
                f"{SMALLEST} a side; give a larger {key}, or fit=crop"
            )
    paintings: dict[int, Painting] = {}
    optimizers = [optimizer(cell) for cell in cells]
    batches: dict[str, list[int]] = {}
    for row, option in enumerate(optimizers):
        batches.setdefault(repr((option.shared(), contents[row].shape)), []).append(row)
    for rows in batches.values():
        resolved = [resolve(cells[row], images, network.name) for row in rows]
        taps = set[Tap]().union(*(cell.taps() for cell in resolved))

        def start(small: Sequence[core.Cell], rows: Sequence[int] = rows) -> Tensor:
            mine = [cells[row] for row in rows]
            return torch.stack([_initial(*both, images) for both in zip(mine, small, strict=True)])

        with current_device(place), arithmetic(chosen):
            vgg = networks.build(
                *(network.name, network.tensors, taps),
                normalize=normalize,
                pooling=pooling,
                padding=padding,
                device=place,
                dtype=DTYPES[chosen],
            )
            painter = Painter(vgg, resolved, [optimizers[row] for row in rows], schedule, start)
            names, losses = painter.engine.objective.columns, list[Tensor]()
            for painted in painter.paint(frame_every or painter.iterations):
                snapshot = _shown(painted, resolved)
                losses.append(snapshot.losses)
                if callback is not None:
                    callback(_info(snapshot, painter.iterations, rows, resolved, names))
        assert snapshot.canvas is not None  # the last has a frame
        every = torch.cat(losses)
        for row, cell, canvas, mine in zip(rows, resolved, snapshot.canvas, every.unbind(1), strict=True):
            columns = {name: mine[:, names.index(name)] for name in cell.columns()}
            if not columns["total"].isfinite().all():
                log.warning("cell %d: its loss is not a finite number any more; give a smaller lr", row)
            opacity = images.opacity(cells[row].content) if cells[row].transparency == "keep" else None
            paintings[row] = Painting(cells[row], canvas, columns, network.name, opacity)
    return [paintings[row] for row in range(len(cells))]


def as_device(name: str) -> torch.device:
    """The device that a name means; `auto` is a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def _initial(cell: Cell, small: core.Cell, images: Images) -> Tensor:
    """The canvas before the first iteration, `[3, H, W]`; `small` is the cell as it is at the first scale."""
    init = cell.init
    if isinstance(init, str) and init in OPTIONS[InitImage.group]:
        init = InitImage.named(init)
    if isinstance(init, File):
        init = init.path
    if isinstance(init, InitImage):
        return small.color.encode(init.canvas(small.content, small.styles[0], cell.seed))
    if not isinstance(init, Tensor):
        init = read(Path(init).expanduser(), images.size, "init", Fit.keep)
    shape = small.content.shape[1], small.content.shape[2]
    return small.color.encode(cover(init.detach().to("cpu", torch.float32), shape))


def _check(cells: Sequence[Cell], size: int, iterations: int, frame_every: int | None) -> None:
    for name, value, least in (
        ("size", size, SMALLEST),
        ("iterations", iterations, 1),
        ("frame_every", 1 if frame_every is None else frame_every, 1),
    ):
        _check_least(name, value, least)
    for cell in cells:
        _check_choice("activation", cell.activation, ("conv", "relu"))
        _check_choice("transparency", cell.transparency, ("white", "keep"))
        check_masks(cell.content_mask, cell.style_mask, len(several(cell.style)), cell.style_weights)


def _check_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise NstError(f"{name}={value}: must be at least {least}; give a larger number")


def _check_choice(name: str, given: str, allowed: Collection[str]) -> None:
    if given not in allowed:
        raise NstError(f"{name}={given}: allowed are {', '.join(allowed)}; give one of them")


def _shown(snapshot: Snapshot, cells: Sequence[core.Cell]) -> Snapshot:
    """A snapshot with its canvases in the colours that they are shown in."""
    if snapshot.canvas is None:
        return snapshot
    rows = zip(snapshot.canvas, cells, strict=True)
    return replace(snapshot, canvas=torch.stack([cell.color.decode(row, cell.content) for row, cell in rows]))


def _info(
    snapshot: Snapshot,
    iterations: int,
    rows: list[int],
    cells: Sequence[core.Cell],
    names: Sequence[str],
) -> IterationInfo:
    losses = [
        {name: values[names.index(name)] for name in cell.columns()}
        for values, cell in zip(snapshot.losses[-1].tolist(), cells, strict=True)
    ]
    return IterationInfo(snapshot.iteration + 1, iterations, rows, losses, snapshot.canvas)
