"""The pictures of a page, as addresses that are the pictures themselves."""

import base64
import hashlib
import io
import math
from pathlib import Path
from typing import Any

from PIL import Image

from nst.io.color import laid_on_white
from nst.io.files import open_regular

SMALL = 96  # pixels; a smaller picture is shown by the pixel, and so has to be exact
# Pixels of a canvas's longer side at most, by how many there are: a page of thousands is still one file.
SIDES = ((400, 512), (2000, 160), (math.inf, SMALL))


class Pictures:
    """The pictures of a page, each in it once however often it is shown or named.

    Args:
        canvases: how many canvases the page has; the more, the smaller it keeps them.
    """

    def __init__(self, canvases: int) -> None:
        self.side = next(side for most, side in SIDES if canvases <= most)
        self._read: dict[tuple[str, int], str | None] = {}
        self._ids: dict[str, str] = {}
        self._shown: set[str] = set()

    def read(self, path: Path, largest: int) -> str | None:
        """The picture in a file, at most `largest` pixels a side; None if it cannot be read."""
        try:
            with open_regular(path) as file:
                content = file.read()
        except OSError:
            return None
        key = (hashlib.sha256(content).hexdigest(), largest)
        if key not in self._read:
            self._read[key] = _encode(content, largest)
        return self._read[key]

    def name(self, uri: str) -> str:
        """The id of the element that has a picture."""
        return self._ids.setdefault(uri, f"picture-{len(self._ids)}")

    def show(self, uri: str) -> bool:
        """Note that a picture is shown; whether it is for the first time."""
        first = uri not in self._shown
        self._shown.add(uri)
        return first

    def unseen(self) -> list[str]:
        """Those that were named and are nowhere shown."""
        return [uri for uri in self._ids if uri not in self._shown]


def webp(image: Image.Image, **options: Any) -> bytes:
    """An image as WebP; `options` are Pillow's."""
    file = io.BytesIO()
    image.save(file, "WEBP", **options)
    return file.getvalue()


def data_uri(encoded: bytes) -> str:
    """An address that is the WebP picture itself."""
    return f"data:image/webp;base64,{base64.b64encode(encoded).decode()}"


def _encode(content: bytes, largest: int) -> str | None:
    try:
        with Image.open(io.BytesIO(content)) as image:
            shown = laid_on_white(image)
    except (OSError, SyntaxError):  # Pillow raises the latter for a broken PNG
        return None
    shown.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    return data_uri(
        webp(shown, lossless=True) if max(shown.size) < SMALL else webp(shown, quality=88, method=6)
    )
