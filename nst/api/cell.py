"""A cell as one writes it in Python, and as it is painted."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal

from nst.api.images import ImageLike, Images, several
from nst.core import cell as core
from nst.core import networks
from nst.core.color import Color
from nst.core.init_images import InitImage
from nst.core.losses import ContentLoss, StyleLoss
from nst.core.optimizers import OptimizerConfig, adam, lbfgs  # noqa: F401 - which make themselves known
from nst.core.regions import check_pair
from nst.core.vgg import LAYERS
from nst.errors import NstError

STYLE_WEIGHTS = (3.90625, 0.9765625, 0.06103515625, 0.0152587890625, 0.003814697265625)  # of the five blocks


@dataclass(frozen=True)
class Cell:
    """One canvas to paint: its images and how it is to be like them (Gatys et al., CVPR 2016).

    Attributes:
        content, style: the path of an image, or a tensor `[3, H, W]` with values in [0, 1]. `style` may be
            several, in a list.
        style_weights: of several styles, divided by their sum; None is equal weights.
        content_mask, style_mask: regions, as the path of a label image or as integers `[H, W]`, of the size
            of their image. Each region of the canvas takes the style of the region of the same label; without
            `style_mask`, the n-th region, from dark to bright, takes the n-th style.
        transparency: `white` lays transparent pixels on it; `keep` also gives the painting the opacity of
            the content image.
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
    content_mask: ImageLike | None = None
    style_mask: ImageLike | None = None
    transparency: Literal["white", "keep"] = "white"
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


def resolve(cell: Cell, images: Images, model: str) -> core.Cell:
    """What the painter needs of a cell; raises NstError where it cannot be painted."""
    color = Color.named(cell.color) if isinstance(cell.color, str) else cell.color
    content = _weighted(cell.content_layers, lambda layer: 1.0, model)
    layers = networks.layers_of(model)
    order = sorted((layer for layer in cell.style_layers if layer in layers), key=layers.index)

    def style_weight(layer: str) -> float:
        block = int(layer[4]) - 1 if model in LAYERS else min(order.index(layer), len(STYLE_WEIGHTS) - 1)
        return STYLE_WEIGHTS[block]

    style = _weighted(cell.style_layers, style_weight, model)
    pictures = several(cell.style)
    styles = tuple(images.recolored(color, cell.content, each) for each in pictures)
    weights = blend(cell.style_weights, len(styles))
    content_mask, style_mask = None, None
    if cell.content_mask is not None:
        named = "content_mask", "style_mask"
        mine, theirs = images.content_regions(cell.content, cell.content_mask), None
        if cell.style_mask is not None:
            theirs = images.style_regions(pictures[0], cell.style_mask)
        check_pair(mine, theirs, len(styles), named, images.size)
        content_mask, style_mask = mine.mask, None if theirs is None else theirs.mask
        weights = mine.shares(len(styles)) if theirs is None else weights
    return core.Cell(
        *(images.content(cell.content), styles, content, style, cell.activation),
        *(cell.content_weight, cell.style_weight, cell.tv_weight),
        ContentLoss.named(cell.content_loss) if isinstance(cell.content_loss, str) else cell.content_loss,
        StyleLoss.named(cell.style_loss) if isinstance(cell.style_loss, str) else cell.style_loss,
        weights,
        content_mask,
        style_mask,
        color,
    )


def blend(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Weights of so many styles, their sum 1."""
    given = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if len(given) != count or not any(given) or not all(0 <= weight < math.inf for weight in given):
        raise NstError(
            f"style_weights={given}: must be {count} numbers, 0 or more, and not all 0; give others"
        )
    return tuple(weight / sum(given) for weight in given)


def optimizer(cell: Cell) -> OptimizerConfig:
    """How a cell is painted."""
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
