"""From a config to the cell it describes: its images, its weights, its layers, and its identity."""

import dataclasses
import hashlib
import json
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from nst.config.film import film_of, later_iterations
from nst.config.layers import check_layers, check_shape, content_layers, style_layers
from nst.config.schema import Config
from nst.core.cell import Cell
from nst.core.color import Color, levels
from nst.core.init_images import File, InitImage, Picture
from nst.core.regions import Regions
from nst.core.resizing import cover
from nst.errors import NstError
from nst.execution.device import most_rows
from nst.execution.regions import regions
from nst.io.files import sha256_of
from nst.io.fit import Fit
from nst.io.images import image_shape, located, read, read_alpha
from nst.io.weights import Weights, load_weights

# Raised whenever the same config would give another canvas than before.
NUMERICS = 3
BF16_NUMERICS = 4


@dataclasses.dataclass(frozen=True)
class ResolvedCell:
    """A cell, ready to be painted."""

    cell: Cell
    weights: Weights
    identity: str
    digests: dict[str, str]  # of its images, by the keys of the config that name them
    init: InitImage
    alpha: Tensor | None  # `[1, H, W]`, of the canvas; None is opaque


def resolve(config: Config) -> ResolvedCell:
    """The cell that a config describes; images and weights are read once a process.

    Raises:
        NstError: an image or the weights cannot be read, the available network lacks a layer,
            or a canvas of that size does not fit in memory.
    """
    most_rows([config])  # before the images: they are as large as the canvas
    images, content = config.images, read_content(config)
    keys = _style_keys(config)
    styles = [_recolored(config.color, style, content) for style in read_styles(config)]
    weights = _weights(config)
    check_layers(config, weights.name)
    mine, theirs = regions(config, *style_size(config))
    content_mask, style_mask = (None if each is None else each.mask for each in (mine, theirs))
    check_shape(config, f"images.content={images.content}", content.shape[1:])
    if config.uses_style:
        for path, style in zip(images.styles, styles, strict=True):
            check_shape(config, f"images.style={path}", style.shape[1:])
    cell = Cell(
        content,
        tuple(styles),
        dict.fromkeys(content_layers(config), 1.0),
        style_layers(config),
        config.activation.name,
        config.weights.content if config.uses_content else 0.0,
        config.weights.style if config.uses_style else 0.0,
        config.weights.tv,
        config.content_loss,
        config.style_loss,
        _blend(config, mine),
        content_mask,
        style_mask,
        config.color,
    )
    init = config.init_image
    if isinstance(init, File):
        init = Picture(image=_cover(*located(init.path), content.shape[1], content.shape[2]))
    used = {"images.content": content, **dict(zip(keys, styles, strict=True))}
    used |= {
        f"images.{kind}_mask": mask
        for kind, mask in (("content", content_mask), ("style", style_mask))
        if mask is not None
    }
    if isinstance(init, Picture):
        used["init_image.path"] = init.image
    if (alpha := _alpha(config, content)) is not None:
        used["images.transparency"] = alpha
    digests = {key: _digest(image) for key, image in used.items()}
    if film := film_of(config):
        digests["images.content"] = _sha256_once(film.path, film.path.stat().st_mtime_ns)
    return ResolvedCell(cell, weights, _identity(config, cell, digests, weights.sha256), digests, init, alpha)


def _alpha(config: Config, content: Tensor) -> Tensor | None:
    """The opacity that the canvas is given, `[1, H, W]`."""
    images = config.images
    if images.transparency == "white":
        return None
    keep = images.transparency == "keep"
    path, changed = located(images.content if keep else images.transparency)
    key = "images.content" if keep else "images.transparency"
    alpha = _read_alpha_once(path, config.size, key, images.fit, changed)
    return None if alpha is None else cover(alpha, (content.shape[1], content.shape[2]))


def read_content(config: Config) -> Tensor:
    """The content image `[3, H, W]`, of a film its first frame; raises NstError where it cannot be read."""
    return _image(config.images.content, config.size, "images.content", config.images.fit)


def read_styles(config: Config) -> list[Tensor]:
    """The style images `[3, h, w]` in their own colours; raises NstError where one cannot be read."""
    size, fit = style_size(config)
    paths = zip(config.images.styles, _style_keys(config), strict=True)
    return [_image(path, size, key, fit) for path, key in paths]


def style_size(config: Config) -> tuple[int, Fit]:
    """The size at which style images are read, and how they are brought to it."""
    size = max(1, round(config.images.style_scale * config.size))
    return size, Fit.square if config.images.fit is Fit.square else Fit.keep


def _style_keys(config: Config) -> list[str]:
    count = len(config.images.styles)
    return [f"images.style[{number}]" if count > 1 else "images.style" for number in range(count)]


def _blend(config: Config, regions: Regions | None) -> tuple[float, ...]:
    """The weights of the styles, their sum 1; of those of regions, their shares of the canvas."""
    count = len(config.images.styles)
    if count == 1:
        return ()
    if regions is not None:
        return regions.shares(count)
    weights = config.images.style_weights or [1.0] * count
    return tuple(weight / sum(weights) for weight in weights)


def identity_of(config: Config) -> str | None:
    """The identity of the cell that a config describes; None where it cannot be resolved."""
    try:
        return resolve(config).identity
    except NstError:
        return None


def network_of(config: Config) -> str | None:
    """The network of a cell, or its fallback; None if neither is available."""
    try:
        return _weights(config).name
    except NstError:
        return None


def _weights(config: Config) -> Weights:
    return load_weights(config.model.name, config.model.weights, fallback=config.model.fallback)


def _identity(config: Config, cell: Cell, digests: dict[str, str], weights: str) -> str:
    """A hash of all that decides a cell's pixels and scores, and of nothing else.

    Layers and weights count as the mode uses them, the seed where it draws something, images as they are
    used: both in every mode, because a canvas is scored by both. Paths, tracking, device and the rate of
    the video do not count.
    """
    precision = config.hardware.precision
    parts = {
        "numerics": BF16_NUMERICS if precision.name == "bf16" else NUMERICS,
        "weights": weights,
        "images": digests,
        "content_layers": content_layers(config),
        "style_layers": style_layers(config),
        "loss_weights": [cell.content_weight, cell.style_weight, cell.tv_weight],
        "normalize": config.model.normalize,
        "optimizer": config.optimizer.identity(),
        "init_image": config.init_image.identity(),
        "precision": precision,
        "seed": config.seed if config.init_image.draws else None,
    }
    # Cells were painted before there was a choice: what they had is not told.
    for key, value, before in (
        ("pooling", config.model.pooling.name, "max"),
        ("padding", config.model.padding.name, "zeros"),
    ):
        if value != before:
            parts[key] = value
    for key, used, before in (
        ("content_loss", config.uses_content, "mse"),
        ("style_loss", config.uses_style, "gram"),
        ("color", True, "style"),
    ):
        if used and (option := getattr(config, key).identity()) != before:
            parts[key] = option
    if cell.style_weights:
        parts["style_weights"] = cell.style_weights
    if len(config.schedule) > 1:
        parts["scales"] = [dataclasses.astuple(scale) for scale in config.schedule]
    if film_of(config):
        parts["frames"] = [config.frames.warm, later_iterations(config), config.frames.most]
    for key in ("activation", "size", "iterations", "save_every"):
        parts[key] = getattr(config, key)
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_name).encode()).hexdigest()


def _name(value: Any) -> str:
    assert isinstance(value, Enum)
    return value.name


def _digest(image: Tensor) -> str:
    return hashlib.sha256(str(tuple(image.shape)).encode() + image.numpy().tobytes()).hexdigest()


def _image(path: str, size: int, key: str, fit: Fit) -> Tensor:
    found, changed = located(path)
    return _read_once(found, size, key, fit, changed)


def _recolored(color: Color, style: Tensor, content: Tensor) -> Tensor:
    """The style image in the colours that it is painted with: one tensor for cells that share both images."""
    key = repr(color), id(style), id(content)
    if key not in _made:
        _made[key] = style, content, color.recolored(style, content)
        if len(_made) > 64:
            _made.pop(next(iter(_made)))
    return _made[key][-1]


_made: dict[tuple[str, int, int], tuple[Tensor, ...]] = {}  # with the images, so that these keep their ids


@lru_cache(maxsize=64)
def _cover(path: Path, changed: int, height: int, width: int) -> Tensor:
    """The initial image in a file, `[3, height, width]`, in the levels of a file: a run keeps it."""
    key = "init_image.path"
    return levels(cover(read(path, max(image_shape(path, key)), key, Fit.keep), (height, width)))


@lru_cache(maxsize=64)
def _read_alpha_once(path: Path, size: int, key: str, fit: Fit, changed: int) -> Tensor | None:
    return read_alpha(path, size, key, fit)


@lru_cache(maxsize=64)
def _sha256_once(path: Path, changed: int) -> str:
    return sha256_of(path)


@lru_cache(maxsize=64)
def _read_once(path: Path, size: int, key: str, fit: Fit, changed: int) -> Tensor:
    """One tensor an image, so that cells share its features; an edited file has another `changed`."""
    return read(path, size, key, fit)
