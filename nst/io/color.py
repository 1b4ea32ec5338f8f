"""Colours as they were meant: from the ICC profile of a picture to sRGB, and PNGs that say they are sRGB."""

import io
import logging
from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

log = logging.getLogger(__name__)

# A PNG's own word for it: 13 bytes, always the same, where a profile would carry the day it was made.
SRGB = PngInfo()
SRGB.add(b"sRGB", bytes([ImageCms.Intent.RELATIVE_COLORIMETRIC]))

# A profile that moves no colour by more is sRGB, whatever it is called: makers round its curve differently.
SAME_LEVELS = 2


def rgb(image: Image.Image, profile: bytes | None, grey: bool, named: str) -> Image.Image:
    """Return `image` in mode RGB and in the colours of sRGB; transparency is left out.

    Pixels of an sRGB profile, or of none, stay bit for bit what they are. A profile that cannot be used
    gives one warning, and the picture is read as sRGB.

    Args:
        image: 8 bits a channel.
        profile: the ICC profile of the picture; empty if its file has one that cannot be read.
        grey: whether the picture is grey, whatever mode it is in now.
        named: what a message begins with.
    """
    if profile is None:
        return image.convert("RGB")
    try:
        mode = _mode(image, profile, grey)
        pixels = image.convert(mode)
        converted = _conversion(profile, mode)(pixels)
        return pixels.convert("RGB") if converted is None else converted
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        reason = " ".join(str(error).split()).partition(" (")[0].strip("'\"")
        _warn(f"{named}: its colour profile cannot be used ({reason}), so its colours are taken for sRGB")
        return image.convert("RGB")


def laid_on_white(image: Image.Image) -> Image.Image:
    """An image in mode RGB, on white where it is transparent."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white.convert("RGB")


def _mode(image: Image.Image, profile: bytes, grey: bool) -> str:
    """In which mode Pillow is to hold the pixels for the profile; ValueError where it is of other pixels."""
    space = _opened(profile).profile.xcolor_space.strip()
    # Grey ones often keep the profile of the RGB picture that they were; what is RGB may lie in a palette.
    if space == "RGB" and image.mode != "CMYK":
        return "RGB"
    if space == "GRAY" and grey:
        return "L"
    if space == image.mode == "CMYK":
        return "CMYK"
    raise ValueError(f"it is for {space}, and the pixels are {'grey' if grey else image.mode}")


@lru_cache(maxsize=16)
def _conversion(profile: bytes, mode: str) -> Callable[[Image.Image], Image.Image | None]:
    """From a profile to sRGB; to None where that is what it is."""
    # Relative colorimetric with black point compensation, as browsers and photo editors do: white stays
    # white, and what sRGB can show stays the same colour. Perceptual tables, where a profile has them
    # at all, bend those colours too, each in its maker's way.
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    transform = ImageCms.buildTransform(
        _opened(profile),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        # Shortcuts that cost no colour a level, but dark greys ten of them.
        flags | ImageCms.Flags.NOOPTIMIZE if mode == "L" else flags,
    )
    if mode == "CMYK":
        return lambda pixels: ImageCms.applyTransform(pixels, transform)
    sample = _sample(mode)
    converted = ImageCms.applyTransform(sample, transform)
    moved = np.asarray(converted, int) - np.asarray(sample.convert("RGB"), int)
    if np.abs(moved).max() <= SAME_LEVELS:
        return lambda pixels: None
    if mode == "L":
        tables = np.asarray(converted)[0].T.tolist()
        return lambda pixels: Image.merge("RGB", [pixels.point(table) for table in tables])
    return lambda pixels: ImageCms.applyTransform(pixels, transform)


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def _sample(mode: str) -> Image.Image:
    """All greys, or colours all over the cube."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    return Image.fromarray(cube.reshape(len(levels), -1, 3))


@cache
def _warn(line: str) -> None:
    """Once a process: a picture is read for each size that it is wanted in."""
    log.warning("%s", line)
