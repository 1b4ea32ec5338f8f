"""From label images to the regions of a cell."""

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from nst.config.schema import Config
from nst.errors import NstError
from nst.io.fit import Fit
from nst.io.images import image_shape, located, read_mask


def regions(config: Config, style_size: int, style_fit: Fit) -> tuple[Tensor | None, Tensor | None]:
    """The region of each pixel of the canvas `[H, W]` and of its only style `[h, w]`, or None.

    Regions are numbered from dark to bright, by BT.601. Without a style mask each has a style image.

    Args:
        style_size, style_fit: at which the style image is read.

    Raises:
        NstError: a mask cannot be read, or is no mask of its image; masks or styles do not go together.
    """
    images = config.images
    if images.content_mask is None or not config.uses_style:
        return None, None
    canvas = *located(images.content), *located(images.content_mask), config.size, images.fit
    mine, colours = _regions_once("content", *canvas)
    if images.style_mask is None:
        if len(colours) != len(images.styles):
            raise NstError(
                f"images.content_mask={images.content_mask}: has {len(colours)} regions ({_named(colours)}), "
                f"and there are {len(images.styles)} style images; give one for each, or images.style_mask"
            )
        return mine, None
    style = *located(images.styles[0]), *located(images.style_mask), style_size, style_fit
    theirs, others = _regions_once("style", *style)
    for key, mask, missing in (
        ("style_mask", images.style_mask, set(colours) - set(others)),
        ("content_mask", images.content_mask, set(others) - set(colours)),
    ):
        if missing:
            raise NstError(
                f"images.{key}={mask}: has nothing of {_named(sorted(missing))} at size={config.size}, which "
                "the other mask has; give both the same colours"
            )
    return mine, theirs


def _named(colours: list[int] | tuple[int, ...]) -> str:
    return ", ".join(f"#{colour:06x}" for colour in colours)


@lru_cache(maxsize=32)
def _regions_once(
    kind: str, image: Path, image_changed: int, mask: Path, mask_changed: int, size: int, fit: Fit
) -> tuple[Tensor, tuple[int, ...]]:
    """One tensor a mask, so that cells share its regions; an edited file has another `changed`."""
    return _numbered(read_mask(mask, size, f"images.{kind}_mask", fit, image_shape(image, f"images.{kind}")))


def _numbered(labels: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Colours `[H, W]` as numbers from 0 on, and the colours from dark to bright."""

    def brightness(colour: int) -> tuple[int, int]:
        return 299 * (colour >> 16) + 587 * (colour >> 8 & 255) + 114 * (colour & 255), colour

    colours = sorted(map(int, labels.unique().tolist()), key=brightness)
    return torch.stack([labels == colour for colour in colours]).int().argmax(0), tuple(colours)
