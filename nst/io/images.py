"""Images in and out: read and resize, write, initial canvases."""

import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from nst.errors import NstError
from nst.io import color
from nst.io.files import atomic_write
from nst.io.fit import Fit, fitted
from nst.io.text import escape_unprintable
from nst.io.video import VIDEOS, decode

# Not ImageOps.exif_transpose: it writes the whole EXIF block anew, and so fails on a photograph
# whose only fault is some other malformed tag.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


MOST_REGIONS = 16  # of a label image


def read(path: Path, size: int, key: str, fit: Fit = Fit.square) -> Tensor:
    """Return the image at `path` as a float32 RGB tensor `[3, H, W]` with values in [0, 1].

    It is turned upright by its EXIF orientation, brought from its colour profile to sRGB, laid on
    white where it is transparent, and resized bilinearly with antialiasing to the shape that `fitted`
    gives. Of an animation or a video it is the first frame. `key` is the config key that messages
    name. Raises NstError, always one line, for anything that is not a whole, decodable image.
    """
    with _opened(path, key) as (image, named):
        rgb = _upright_rgb(image, named)
    resized = _resized(rgb, size, fit, Image.Resampling.BILINEAR)
    values = np.asarray(resized, dtype=np.float32) / 255
    return torch.from_numpy(values).permute(2, 0, 1).contiguous()


def _resized(rgb: Image.Image, size: int, fit: Fit, by: Image.Resampling) -> Image.Image:
    """`rgb` in the shape that `fitted` gives."""
    height, width = fitted((rgb.height, rgb.width), size, fit)
    side = min(rgb.size)
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    middle = (left, top, left + side, top + side) if fit is Fit.crop else None
    return rgb.resize((width, height), by, middle)


def read_alpha(path: Path, size: int, key: str, fit: Fit = Fit.square) -> Tensor | None:
    """Return the opacity of the image at `path`, `[1, H, W]` from 0 to 1, shaped by `read`; None if opaque.

    Raises as `read` does.
    """
    with _opened(path, key) as (image, _):
        image.load()
        if not image.has_transparency_data:
            return None
        turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
        alpha = image.convert("RGBA").getchannel("A")
    alpha = alpha if turn is None else alpha.transpose(turn)
    values = np.asarray(_resized(alpha, size, fit, Image.Resampling.BILINEAR), dtype=np.float32) / 255
    return None if values.min() == 1 else torch.from_numpy(values)[None]


def read_mask(path: Path, size: int, key: str, fit: Fit, shape: tuple[int, int]) -> Tensor:
    """Return the label image at `path` as colours `[H, W]`, 0xRRGGBB each, of the shape that `read` gives.

    Pixels are taken, not mixed, and no profile is applied: each colour is a label.

    Args:
        shape: (height, width) of the image that it is about, as it is in its file.

    Raises:
        NstError: as `read`; the mask has another shape, or so many colours that it is no label image.
    """
    with _opened(path, key) as (image, named):
        image.load()
        turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
        rgb = image.convert("RGB") if turn is None else image.convert("RGB").transpose(turn)
    labels = np.asarray(rgb, dtype=np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
    return shaped_mask(torch.from_numpy(labels), size, named, fit, shape)


def shaped_mask(labels: Tensor, size: int, named: str, fit: Fit, shape: tuple[int, int]) -> Tensor:
    """Labels `[h, w]` in the shape that `read` gives, `[H, W]`: pixels are taken, not mixed.

    Args:
        named: what messages call the mask.
        shape: (height, width) that the image has which it is about.

    Raises:
        NstError: it has another shape, or so many labels that it is no label image.
    """
    if labels.shape != shape:
        height, width = labels.shape
        raise NstError(
            f"{named}: is {width} x {height} pixels, and its image {shape[1]} x {shape[0]}; "
            "give a mask of that size"
        )
    if len(labels.unique()) > MOST_REGIONS:
        raise NstError(
            f"{named}: has more than {MOST_REGIONS} colours, and each is a region; "
            "give a label image, as PNG: JPEG mixes colours"
        )
    # Pillow resizes 32-bit integers, too, and so takes the pixels that it takes of the image.
    resized = _resized(Image.fromarray(labels.numpy()), size, fit, Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(resized, dtype=np.int64))


def located(path: str) -> tuple[Path, int]:
    """The file that a config's path names, and when it was changed; 0 where it cannot be seen."""
    # os.path's: of these none raises where a user is unknown, or we may not look.
    found = Path(os.path.expanduser(path))
    return found, found.stat().st_mtime_ns if os.path.exists(found) else 0


def image_shape(path: Path, key: str) -> tuple[int, int]:
    """(height, width) of the image at `path`, upright, by its header; raises as `read` does."""
    with _opened(path, key) as (image, _):
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return (image.width, image.height) if turned else (image.height, image.width)


@contextmanager
def _opened(path: Path, key: str) -> Iterator[tuple[Image.Image, str]]:
    """The image at `path`, not decoded yet, and what messages call it; what fails inside is one line."""
    named = f"{key}={escape_unprintable(str(path))}"
    try:
        _check_file(path, named)
        if path.suffix.lower() in VIDEOS:
            yield _first_frame(path, named), named
            return
        with warnings.catch_warnings():
            # Of large images and odd metadata. What keeps it from the pixels, Pillow raises.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_formats()) as image:
                yield image, named
    except NstError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever the damage made them trip over.
        raise NstError(f"{named}: {_fault(error, path)}") from error


def _first_frame(path: Path, named: str) -> Image.Image:
    frames = decode(path)
    try:
        return Image.fromarray(next(frames))
    except StopIteration:
        raise NstError(f"{named}: a video without a frame that ffmpeg can decode; give another") from None
    finally:
        frames.close()


def to_uint8(canvas: Tensor) -> NDArray[np.uint8]:
    """Return `canvas`, `[3, H, W]` or `[B, 3, H, W]`, as bytes `[..., H, W, 3]` to be shown.

    Values are clamped to [0, 1] and rounded to the nearest of 256. NaN becomes 0 without a word:
    a caller for whom that would hide a failure looks for NaN first.
    """
    # In NumPy: PyTorch would wake all its threads for each frame, on each thread that writes some.
    levels = np.fmax(canvas.detach().float().cpu().numpy(), 0)  # of NaN and a number it is the number
    np.minimum(levels, 1, out=levels)
    np.rint(np.multiply(levels, 255, out=levels), out=levels)
    return np.ascontiguousarray(np.moveaxis(levels.astype(np.uint8), -3, -1))


def write_png(canvas: Tensor, path: Path) -> None:
    """Write `canvas`, `[3, H, W]`, to `path` as an 8-bit sRGB PNG that appears whole or not at all.

    Raises OSError where `path` cannot be written.
    """
    with atomic_write(path) as temporary:
        Image.fromarray(to_uint8(canvas)).save(temporary, format="PNG", pnginfo=color.SRGB)


def side_by_side(images: Sequence[Tensor]) -> Tensor:
    """Pictures `[3, h, w]` as one, each as high as the first."""
    height = images[0].shape[1]
    scaled = [
        F.interpolate(
            image[None], (height, max(1, round(image.shape[2] * height / image.shape[1]))), mode="bilinear"
        )[0]
        for image in images[1:]
    ]
    return torch.cat([images[0], *scaled], 2)


def _check_file(path: Path, named: str) -> None:
    """Refuse anything but a regular, non-empty file, before opening it: opening a FIFO would wait."""
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise NstError(f"{named}: a directory; give the path of one image in it")
    if not stat.S_ISREG(found.st_mode):
        raise NstError(f"{named}: a pipe, socket or device; copy the image to a regular file")
    if not found.st_size:
        raise NstError(f"{named}: an empty file; give an image (PNG, JPEG, ...)")


@cache
def _formats() -> list[str]:
    """All that Pillow reads but PostScript: that is a program, which it would have Ghostscript run."""
    with suppress(ImportError):  # the extra `heic`
        from pillow_heif import register_heif_opener

        register_heif_opener()
    Image.init()
    return [name for name in Image.ID if name != "EPS"]


def _fault(error: Exception, path: Path) -> str:
    """Say what is wrong with the file `path` that raised `error`, and what to do."""
    reason = escape_unprintable(" ".join(str(error).split())) or type(error).__name__
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return "no such file; give the path of an image (PNG, JPEG, ...)"
        case PermissionError():
            return "no permission to read it; allow it (chmod), or give another image"
        case UnidentifiedImageError():
            if unread := _named_by_its_brand(path):
                return unread
            return "not an image that Pillow can read; give a PNG, JPEG or other common format"
        case Image.DecompressionBombError():
            return f"too large ({reason.partition(',')[0]}); resize it, then try again"
        case _:
            return f"cannot be read ({reason}); if it is damaged, fetch it or save it again"


def _named_by_its_brand(path: Path) -> str | None:
    """Say of a HEIC or AVIF file that it is one, and what reads it: phones write them."""
    with path.open("rb") as file:
        size, kind = file.read(4), file.read(4)
        brands = file.read(max(min(int.from_bytes(size), 256) - 8, 0)) if kind == b"ftyp" else b""
    if b"avif" in brands:
        return "an AVIF image, which Pillow reads from 11.3 on; pip install -U pillow, or save it as PNG"
    if any(brand in brands for brand in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1")):
        return "a HEIC image; pip install pillow-heif, which reads it, or save it as JPEG"
    return None


def _upright_rgb(image: Image.Image, named: str) -> Image.Image:
    """Decode `image`: 8-bit sRGB, upright, on white."""
    image.load()  # before asking its mode, which some decoders settle only now
    # Pillow says None where a file has a profile that is damaged.
    profile = (image.info["icc_profile"] or b"") if "icc_profile" in image.info else None
    turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    # Pillow gives 16-bit grey a mode of its own, except where it comes from a PGM.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = _eight_bit(image)
    elif image.mode in ("I", "F"):
        raise NstError(
            f"{named}: its pixels are 32-bit numbers, of which none is known to be white; "
            "save it with 8 or 16 bits a channel"
        )
    grey = image.mode in ("1", "L", "LA", "La")
    if not image.has_transparency_data:
        rgb = color.rgb(image, profile, grey, named)
    else:
        image = image.convert("RGBA")
        layer = color.rgb(image, profile, grey, named)
        layer.putalpha(image.getchannel("A"))
        white = Image.new("RGBA", layer.size, "white")
        white.alpha_composite(layer)
        rgb = white.convert("RGB")
    return rgb if turn is None else rgb.transpose(turn)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits, where Pillow would clip it.

    Eight bits, not floats: that is what Pillow makes of 16-bit colour, and what `content.png` can
    hold, so a grey picture is no exception.
    """
    grey: NDArray[Any] = np.array(image, dtype=np.uint32)
    if "transparency" in image.info:  # the one level that a PNG declares transparent
        grey[grey == image.info["transparency"]] = 65535
    return Image.fromarray(((grey + 128) // 257).astype(np.uint8))
