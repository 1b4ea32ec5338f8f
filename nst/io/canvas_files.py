"""A canvas as files: `canvas.png`, which every run has, and other formats beside it."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms
from torch import Tensor

from nst.io import color
from nst.io.canvas_format import FILES, CanvasFormat
from nst.io.files import atomic_write, open_regular
from nst.io.images import to_uint8


def write_canvas(canvas: Tensor, folder: Path, wanted: CanvasFormat, alpha: Tensor | None = None) -> None:
    """Write `canvas` into `folder` in sRGB and at full quality; the file appears whole or not at all.

    Args:
        canvas: `[3, H, W]`; values are clamped to [0, 1].
        alpha: `[1, H, W]`, opacity from 0 to 1; None is opaque. A JPEG has none, and is laid on white.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_write(folder / FILES[wanted]) as temporary:
        if wanted is CanvasFormat.tiff16:
            _write_tiff16(canvas if alpha is None else torch.cat([canvas, alpha.to(canvas)]), temporary)
            return
        if wanted is CanvasFormat.jpg:
            canvas, alpha = on_white(canvas, alpha), None
        image = Image.fromarray(to_uint8(canvas if alpha is None else torch.cat([canvas, alpha.to(canvas)])))
        options: dict[str, Any] = {
            CanvasFormat.png: {"format": "PNG", "pnginfo": color.SRGB},
            CanvasFormat.jpg: {"format": "JPEG", "quality": 100, "subsampling": 0},
            CanvasFormat.webp: {"format": "WEBP", "lossless": True, "exact": True},
        }[wanted]
        if wanted is not CanvasFormat.png:
            options["icc_profile"] = _srgb()
        image.save(temporary, **options)


def convert_canvas(folder: Path, wanted: CanvasFormat) -> None:
    """Write an 8-bit format of the canvas of a run, given its `canvas.png`: the same file as when painted."""
    levels = read_levels(folder / FILES[CanvasFormat.png])
    write_canvas(levels[:3], folder, wanted, levels[3:] if len(levels) > 3 else None)


def read_levels(path: Path) -> Tensor:
    """A picture that a run keeps as PNG, `[3, H, W]` in [0, 1], or `[4, H, W]` with opacity.

    Raises:
        OSError, SyntaxError, ValueError: it cannot be read; Pillow raises any of these where it is damaged.
    """
    with open_regular(path) as file, Image.open(file, formats=["PNG"]) as image:
        return torch.from_numpy(np.array(image)).movedim(-1, 0) / 255


def on_white(canvas: Tensor, alpha: Tensor | None) -> Tensor:
    """`canvas` `[3, H, W]`, clamped to [0, 1], laid on white where `alpha` `[1, H, W]` is below 1."""
    return canvas if alpha is None else 1 - (1 - canvas.clamp(0, 1)) * alpha.to(canvas)


def _write_tiff16(channels: Tensor, path: Path) -> None:
    """Write `[3, H, W]`, or `[4, H, W]` with opacity, with 16 bits a channel."""
    from tifffile import imwrite  # the extra `tiff`

    levels = channels.detach().double().nan_to_num(nan=0.0).clamp(0, 1).mul(65535).round()
    pixels: NDArray[np.uint16] = levels.movedim(0, -1).contiguous().cpu().numpy().astype(np.uint16)
    extra = ["unassalpha"] if len(channels) > 3 else None
    imwrite(
        path, pixels, photometric="rgb", extrasamples=extra, iccprofile=_srgb(), metadata=None, software=False
    )


@cache
def _srgb() -> bytes:
    """A profile of sRGB; its day is left out, so that the same canvas is the same file."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:]
