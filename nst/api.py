"""The public API, for notebooks and other programs: paint, load a run directory, score a canvas.

It needs neither Hydra nor MLflow nor matplotlib. `docs/library.md` has an example.
"""

import csv
import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nst.core import cell as core
from nst.core import networks
from nst.core.color import Color
from nst.core.engine import DTYPES, Snapshot, arithmetic
from nst.core.init_images import File, InitImage
from nst.core.losses import ContentLoss, StyleLoss
from nst.core.metrics import Scores
from nst.core.network import Tap
from nst.core.optimizers import OptimizerConfig, adam, lbfgs  # noqa: F401 - which make themselves known
from nst.core.options import OPTIONS
from nst.core.painter import Painter
from nst.core.pooling import POOLINGS
from nst.core.resizing import cover
from nst.core.scales import Scales, shape_at
from nst.core.vgg import LAYERS
from nst.errors import NstError
from nst.io.color import laid_on_white
from nst.io.files import open_regular, open_text
from nst.io.fit import Fit, fitted
from nst.io.images import image_shape, read, to_uint8
from nst.io.video import decode
from nst.io.weights import load_scorer, load_weights

log = logging.getLogger(__name__)

ImageLike = Tensor | str | Path
STYLE_WEIGHTS = (3.90625, 0.9765625, 0.06103515625, 0.0152587890625, 0.003814697265625)  # of the five blocks
SMALLEST = 16  # pixels a side: four poolings leave one


@dataclass(frozen=True)
class Cell:
    """One canvas to paint: its images and how it is to be like them (Gatys et al., CVPR 2016).

    Attributes:
        content, style: the path of an image, or a tensor `[3, H, W]` with values in [0, 1]. `style` may be
            several, in a list.
        style_weights: of several styles, divided by their sum; None is equal weights.
        content_layers, style_layers: names of VGG's layers (`conv1_1` to `conv5_4`), or each with its weight.
            By name, a content layer has weight 1, a style layer 1000/C² with C the channels of its block
            (counted as 16, 32, 128, 256, 512; of another network the n-th has the n-th of these). May be
            empty.
        content_weight, style_weight, tv_weight: weights of content loss, style loss and total variation.
        activation: features before (`conv`) or after (`relu`) the ReLU behind each layer.
        content_loss, style_loss: by name, or an object with settings (`nst.core.losses`, and
            `docs/extending.md` for one of yours).
        optimizer: `lbfgs`, `adam`, or one of yours.
        lr: learning rate; None is the optimizer's default, 1 for L-BFGS and 0.06 for Adam.
        color: `style`, `luminance` (painted in luminance, with the content's chroma), `histogram` (the style
            image is given the content's colours first), or a `Color` of yours.
        init: what the canvas is at first: `content`, `style`, `noise`, `grey`, `style_statistics`, an image
            as above, or an `InitImage`.
        seed: of the noise.
    """

    content: ImageLike
    style: ImageLike | Sequence[ImageLike]
    _: KW_ONLY
    style_weights: Sequence[float] | None = None
    content_layers: Sequence[str] | Mapping[str, float] = ("conv4_2",)
    style_layers: Sequence[str] | Mapping[str, float] = (
        "conv1_1",
        "conv2_1",
        "conv3_1",
        "conv4_1",
        "conv5_1",
    )
    content_weight: float = 5.0
    style_weight: float = 1e6
    tv_weight: float = 0.1
    activation: Literal["conv", "relu"] = "relu"
    content_loss: str | ContentLoss = "mse"
    style_loss: str | StyleLoss = "gram"
    color: str | Color = "style"
    optimizer: str | OptimizerConfig = "lbfgs"
    lr: float | None = None
    init: ImageLike | InitImage = "content"
    seed: int = 0


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
    """

    cell: Cell
    canvas: Tensor
    losses: dict[str, Tensor]
    model: str

    @property
    def image(self) -> Image.Image:
        """The canvas as it is shown."""
        return Image.fromarray(to_uint8(self.canvas))


@dataclass(frozen=True)
class Run:
    """A run directory, read: what `run.py` left of one cell.

    Attributes:
        config: the resolved config, as nested dictionaries: `run.config["weights"]["style"]`.
        iterations: the iteration that each frame shows.
    """

    folder: Path
    config: dict[str, Any]
    iterations: list[int]

    @cached_property
    def losses(self) -> dict[str, Tensor]:
        """Of each iteration, `[n]` in float64, by the names that `IterationInfo` has."""
        with open_text(self.folder / "losses.csv") as file:
            rows = list(csv.DictReader(file))
        names = [name for name in rows[0] if name != "iteration"] if rows else []
        return {name: torch.tensor([float(row[name]) for row in rows], dtype=torch.float64) for name in names}

    @cached_property
    def canvas(self) -> Tensor:
        """The final canvas, `[3, H, W]` with values in [0, 1], on white where it is transparent."""
        with open_regular(self.folder / "canvas.png") as file, Image.open(file, formats=["PNG"]) as image:
            pixels = torch.frombuffer(bytearray(laid_on_white(image).tobytes()), dtype=torch.uint8)
            return pixels.view(image.height, image.width, 3).permute(2, 0, 1) / 255

    def frames(self) -> Iterator[Tensor]:
        """The canvas at each of `iterations` as the video has it, `[3, H, W]` with values in [0, 1]."""
        height, width = self.canvas.shape[1:]
        for pixels in decode(self.folder / "canvas.mp4"):
            # The sides of a video are even: beside an odd canvas it has a row and a column more.
            yield torch.from_numpy(pixels[:height, :width].copy()).permute(2, 0, 1) / 255


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
    precision: Literal["fp32", "tf32", "bf16", "fp64"] = "fp32",
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
        precision: what the network computes in.
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
    _check_choice("precision", precision, DTYPES)
    networks.check_name(model)
    _check_choice("pooling", pooling, POOLINGS if model in LAYERS else ("max",))
    padding = padding or ("replicate" if model in LAYERS else "zeros")
    _check_choice("padding", padding, ("zeros", "replicate") if model in LAYERS else ("zeros",))
    place = _device(device)
    network = load_weights(model, weights, fallback="vgg16" if model == "vgg19" else None)
    scales = Scales.named(scales) if isinstance(scales, str) else scales
    scales.check()
    schedule = scales.schedule(size, iterations)
    images = _Images(size, Fit[fit], style_scale)
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
    optimizers = [_optimizer(cell) for cell in cells]
    batches: dict[str, list[int]] = {}
    for row, optimizer in enumerate(optimizers):
        batches.setdefault(repr((optimizer.shared(), contents[row].shape)), []).append(row)
    for rows in batches.values():
        resolved = [_resolve(cells[row], images, network.name) for row in rows]
        taps = set[Tap]().union(*(cell.taps() for cell in resolved))

        def start(small: Sequence[core.Cell], rows: Sequence[int] = rows) -> Tensor:
            mine = [cells[row] for row in rows]
            return torch.stack([_initial(*both, images) for both in zip(mine, small, strict=True)])

        with arithmetic(precision):
            vgg = networks.build(
                *(network.name, network.tensors, taps),
                normalize=normalize,
                pooling=pooling,
                padding=padding,
                device=place,
                dtype=DTYPES[precision],
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
            paintings[row] = Painting(cells[row], canvas, columns, network.name)
    return [paintings[row] for row in range(len(cells))]


def load_run(folder: str | Path) -> Run:
    """Read a run directory; raises NstError where there is none."""
    from omegaconf import OmegaConf  # late, and Hydra with the schema: who paints needs neither
    from omegaconf.errors import OmegaConfBaseException

    from nst.config.schema import register
    from nst.runs.reader import read_run

    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise NstError(f"{folder}: no run.json in it; give a run directory")
    register()  # its resolvers are in the config
    run = read_run(folder)
    config: Any
    try:
        config = OmegaConf.to_container(run.config, resolve=True)
    except OmegaConfBaseException:  # `${hydra:...}` means nothing once the run is over
        config = OmegaConf.to_container(run.config)
    return Run(folder, config, list(run.record.frames))


def score(
    canvas: ImageLike,
    content: ImageLike,
    style: ImageLike | Sequence[ImageLike],
    *,
    style_weights: Sequence[float] | None = None,
    device: str = "auto",
) -> Scores:
    """How far a canvas is from its two images; lower is closer.

    Args:
        canvas, content, style: a tensor `[3, H, W]`, or the path of an image. The content image is resized to
            the canvas, the style image to its long side. Several styles are a list.
        style_weights: of several styles: their style distance is the weighted mean of the distances to each.
        device: as in `paint`.

    Returns:
        `lpips_content`, LPIPS to the content (Zhang et al., CVPR 2018), and `style_distance`, the relative
        distance of Gram matrices to those of the style; both by VGG-16, whatever painted the canvas.

    Raises:
        NstError: an image or the weights cannot be had.
    """
    if not isinstance(canvas, Tensor):
        path = Path(canvas).expanduser()
        canvas = read(path, max(image_shape(path, "canvas")), "canvas", Fit.keep)
    shape = canvas.shape[1], canvas.shape[2]
    images = _Images(max(shape), Fit.keep)
    like = cover(images.content(content), shape)
    styles = [images.style(each) for each in _several(style)]
    blend = list(zip(styles, _blend(style_weights, len(styles)), strict=True))
    [scores] = load_scorer(_device(device)).score([canvas], [like], [blend])
    return scores


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


class _Images:
    """Images as tensors of their shape, one tensor for each image, so that cells share its features."""

    def __init__(self, size: int, fit: Fit, style_scale: float = 1.0) -> None:
        self.size, self.fit, self.style_scale = size, fit, style_scale
        self._known: dict[tuple[str | int, int, Fit], Tensor] = {}
        self._recolored: dict[tuple[str, int, int], Tensor] = {}
        self._kept = list[Tensor]()  # so that no other tensor gets the id of one

    def content(self, image: ImageLike) -> Tensor:
        """`[3, H, W]`, of the shape of the canvas."""
        return self._once(image, self.size, self.fit)

    def style(self, image: ImageLike) -> Tensor:
        """`[3, h, w]`."""
        fit = Fit.square if self.fit is Fit.square else Fit.keep
        return self._once(image, max(1, round(self.style_scale * self.size)), fit)

    def recolored(self, color: Color, cell: Cell, image: ImageLike) -> Tensor:
        """A style image, in the colours that the cell is painted with."""
        content, style = self.content(cell.content), self.style(image)
        key = repr(color), id(content), id(style)
        if key not in self._recolored:
            self._recolored[key] = color.recolored(style, content)
        return self._recolored[key]

    def _once(self, image: ImageLike, size: int, fit: Fit) -> Tensor:
        key = id(image) if isinstance(image, Tensor) else str(image), size, fit
        if key not in self._known:
            self._known[key] = self._resized(image, size, fit)
        return self._known[key]

    def _resized(self, image: ImageLike, size: int, fit: Fit) -> Tensor:
        if not isinstance(image, Tensor):
            return read(Path(image).expanduser(), size, "image", fit)
        if image.dim() != 3 or image.shape[0] != 3:
            raise NstError(f"image: a tensor of shape {tuple(image.shape)}; give one of shape [3, H, W]")
        self._kept.append(image)
        image = image.detach().to("cpu", torch.float32)
        shape = fitted((image.shape[1], image.shape[2]), size, fit)
        if fit is Fit.crop:
            return cover(image, shape)
        if image.shape[1:] == shape:
            return image
        return F.interpolate(image[None], shape, mode="bilinear", antialias=True)[0]


def _resolve(cell: Cell, images: _Images, model: str) -> core.Cell:
    color = Color.named(cell.color) if isinstance(cell.color, str) else cell.color
    content = _weighted(cell.content_layers, lambda layer: 1.0, model)
    layers = networks.layers_of(model)
    order = sorted((layer for layer in cell.style_layers if layer in layers), key=layers.index)

    def style_weight(layer: str) -> float:
        block = int(layer[4]) - 1 if model in LAYERS else min(order.index(layer), len(STYLE_WEIGHTS) - 1)
        return STYLE_WEIGHTS[block]

    style = _weighted(cell.style_layers, style_weight, model)
    styles = tuple(images.recolored(color, cell, each) for each in _several(cell.style))
    return core.Cell(
        *(images.content(cell.content), styles, content, style, cell.activation),
        *(cell.content_weight, cell.style_weight, cell.tv_weight),
        ContentLoss.named(cell.content_loss) if isinstance(cell.content_loss, str) else cell.content_loss,
        StyleLoss.named(cell.style_loss) if isinstance(cell.style_loss, str) else cell.style_loss,
        _blend(cell.style_weights, len(styles)),
        color=color,
    )


def _several(style: ImageLike | Sequence[ImageLike]) -> list[ImageLike]:
    styles = [style] if isinstance(style, Tensor | str | Path) else list(style)
    if not styles:
        raise NstError("style: an empty list; give one image at least")
    return styles


def _blend(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Weights of so many styles, their sum 1."""
    given = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if len(given) != count or not any(given) or not all(0 <= weight < math.inf for weight in given):
        raise NstError(
            f"style_weights={given}: must be {count} numbers, 0 or more, and not all 0; give others"
        )
    return tuple(weight / sum(given) for weight in given)


def _optimizer(cell: Cell) -> OptimizerConfig:
    option = cell.optimizer
    if isinstance(option, str):
        option = OptimizerConfig.named(option)
    if cell.lr is not None:
        option = replace(option, lr=cell.lr)
    option.check()
    return option


def _weighted(
    layers: Sequence[str] | Mapping[str, float], weight: Callable[[str], float], model: str
) -> dict[str, float]:
    """Each layer with its weight, shallow to deep."""
    if isinstance(layers, str):
        layers = [layers]
    for layer in layers:
        if layer not in networks.layers_of(model):
            allowed = networks.shown(networks.layers_of(model))
            raise NstError(f"{layer}: {model} has no such layer; allowed are {allowed}")
    if not isinstance(layers, Mapping):
        layers = {layer: weight(layer) for layer in layers}
    return {layer: layers[layer] for layer in networks.layers_of(model) if layer in layers}


def _initial(cell: Cell, small: core.Cell, images: _Images) -> Tensor:
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
