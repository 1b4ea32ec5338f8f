"""The formats that a canvas is written in, and what the files are called."""

from enum import Enum
from importlib.util import find_spec

from nst.errors import NstError

CanvasFormat = Enum("CanvasFormat", "png jpg tiff16 webp")
FILES = {
    CanvasFormat.png: "canvas.png",
    CanvasFormat.jpg: "canvas.jpg",
    CanvasFormat.tiff16: "canvas.tif",
    CanvasFormat.webp: "canvas.webp",
}


def check_format(wanted: CanvasFormat) -> None:
    """Raise NstError where a format cannot be written here."""
    if wanted is CanvasFormat.tiff16 and find_spec("tifffile") is None:
        raise NstError("canvas_format=tiff16: needs tifffile; pip install tifffile, or give png, jpg or webp")
