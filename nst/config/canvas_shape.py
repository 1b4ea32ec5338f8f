"""The shape of a cell's canvas, by the header of its content image."""

from functools import lru_cache
from pathlib import Path

from nst.config.schema import Config
from nst.errors import NstError
from nst.io.fit import fitted
from nst.io.images import image_shape, located


def canvas_shape(config: Config) -> tuple[int, int]:
    """(height, width) of the canvas; a square where the image cannot be read, which fails its cell later."""
    return fitted(_shape_once(*located(config.images.content)), config.size, config.images.fit)


@lru_cache(maxsize=1024)
def _shape_once(path: Path, changed: int) -> tuple[int, int]:
    """The cells of a sweep share images; an edited file has another `changed`."""
    try:
        return image_shape(path, "images.content")
    except NstError:
        return 1, 1
