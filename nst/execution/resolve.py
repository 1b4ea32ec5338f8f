"""From a config to the cell it describes: its images, its weights, its layers, and its identity."""

import dataclasses
import hashlib
import json
import os
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from nst.config.film import film_of, later_iterations
from nst.config.schema import Config, check_layers, check_shape, content_layers, style_layers
from nst.core.init_images import File, cover
from nst.core.objective import Cell
from nst.errors import NstError
from nst.execution.device import most_rows
from nst.io.files import sha256_of
from nst.io.images import Fit, image_shape, read
from nst.io.weights import Weights, load_weights

# Raised whenever the same config would give another canvas than before.
NUMERICS = 3


@dataclasses.dataclass(frozen=True)
class ResolvedCell:
    """A cell, ready to be painted."""

    cell: Cell
    weights: Weights
    identity: str
    digests: dict[str, str]  # of its images, by the keys of the config that name them
    picture: Tensor | None  # that `init_image=file` begins from, `[3, h, w]`

    def canvas(self, config: Config) -> Tensor:
        """The canvas before the first iteration, `[3, H, W]`."""
        content, style = self.cell.content, self.cell.style
        if self.picture is not None:
            return cover(self.picture, (content.shape[1], content.shape[2]))
        return config.init_image.canvas(content, style, config.seed)


def resolve(config: Config) -> ResolvedCell:
    """The cell that a config describes; images and weights are read once a process.

    Raises:
        NstError: an image or the weights cannot be read, the available network lacks a layer,
            or a canvas of that size does not fit in memory.
    """
    most_rows([config])  # before the images: they are as large as the canvas
    content, style = read_image(config, "content"), read_image(config, "style")
    weights = _weights(config)
    check_layers(config, weights.name)
    check_shape(config, "images.content", content.shape[1:])
    if config.uses_style:
        check_shape(config, "images.style", style.shape[1:])
    cell = Cell(
        content,
        style,
        dict.fromkeys(content_layers(config), 1.0),
        style_layers(config),
        config.activation.name,
        config.weights.content if config.uses_content else 0.0,
        config.weights.style if config.uses_style else 0.0,
        config.weights.tv,
        config.content_loss,
        config.style_loss,
    )
    digests = {"images.content": _digest(content), "images.style": _digest(style)}
    if film := film_of(config):
        digests["images.content"] = _sha256_once(film.path, film.path.stat().st_mtime_ns)
    picture = _picture(config.init_image.path) if isinstance(config.init_image, File) else None
    if picture is not None:
        digests["init_image.path"] = _digest(picture)
    return ResolvedCell(cell, weights, _identity(config, cell, digests, weights.sha256), digests, picture)


def read_image(config: Config, kind: Literal["content", "style"]) -> Tensor:
    """The content or the style image of a cell, `[3, H, W]`; raises NstError where it cannot be read."""
    return _image(getattr(config.images, kind), *image_size(config, kind), f"images.{kind}")


def image_size(config: Config, kind: Literal["content", "style"]) -> tuple[int, Fit]:
    """The size at which that image is read, and how it is brought to it."""
    if kind == "content":
        return config.size, config.images.fit
    size = max(1, round(config.images.style_scale * config.size))
    return size, Fit.square if config.images.fit is Fit.square else Fit.keep


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
    parts = {
        "numerics": NUMERICS,
        "weights": weights,
        "images": digests,
        "content_layers": content_layers(config),
        "style_layers": style_layers(config),
        "loss_weights": [cell.content_weight, cell.style_weight, cell.tv_weight],
        "normalize": config.model.normalize,
        "optimizer": config.optimizer.identity(),
        "init_image": config.init_image.identity(),
        "precision": config.hardware.precision,
        "seed": config.seed if config.init_image.draws else None,
    }
    # Cells were painted before there was a choice: what they had is not told.
    for key, used, before in (
        ("content_loss", config.uses_content, "mse"),
        ("style_loss", config.uses_style, "gram"),
    ):
        if used and (loss := getattr(config, key).identity()) != before:
            parts[key] = loss
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


def _picture(path: str) -> Tensor:
    """The image at `init_image.path`, as large as it is."""
    found = Path(os.path.expanduser(path))
    return _image(path, max(image_shape(found, "init_image.path")), Fit.keep, "init_image.path")


def _image(path: str, size: int, fit: Fit, key: str) -> Tensor:
    # os.path's: of these none raises where a user is unknown, or we may not look.
    found = Path(os.path.expanduser(path))
    changed = found.stat().st_mtime_ns if os.path.exists(found) else 0
    return _read_once(found, size, key, fit, changed)


@lru_cache(maxsize=64)
def _sha256_once(path: Path, changed: int) -> str:
    return sha256_of(path)


@lru_cache(maxsize=64)
def _read_once(path: Path, size: int, key: str, fit: Fit, changed: int) -> Tensor:
    """One tensor an image, so that cells share its features; an edited file has another `changed`."""
    return read(path, size, key, fit)
