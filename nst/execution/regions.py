"""From label images to the regions of a cell."""

from functools import lru_cache
from pathlib import Path

from nst.config.schema import Config
from nst.core.regions import Regions, check_pair
from nst.io.fit import Fit
from nst.io.images import image_shape, located, read_mask


def regions(config: Config, style_size: int, style_fit: Fit) -> tuple[Regions | None, Regions | None]:
    """The regions of the canvas and of its only style, or None; without a style mask each has a style image.

    Args:
        style_size, style_fit: at which the style image is read.

    Raises:
        NstError: a mask cannot be read, or is no mask of its image; masks or styles do not go together.
    """
    images = config.images
    if images.content_mask is None or not config.uses_style:
        return None, None
    canvas = *located(images.content), *located(images.content_mask), config.size, images.fit
    mine, theirs = _regions_once("content", *canvas), None
    if images.style_mask is not None:
        style = *located(images.styles[0]), *located(images.style_mask), style_size, style_fit
        theirs = _regions_once("style", *style)
    named = f"images.content_mask={images.content_mask}", f"images.style_mask={images.style_mask}"
    check_pair(mine, theirs, len(images.styles), named, config.size)
    return mine, theirs


@lru_cache(maxsize=32)
def _regions_once(
    kind: str, image: Path, image_changed: int, mask: Path, mask_changed: int, size: int, fit: Fit
) -> Regions:
    """One tensor a mask, so that cells share its regions; an edited file has another `changed`."""
    shape = image_shape(image, f"images.{kind}")
    return Regions.of(read_mask(mask, size, f"images.{kind}_mask", fit, shape))
