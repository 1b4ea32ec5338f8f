"""Pictures with a colour profile, compared with a conversion by the formulas of their colour spaces."""

import io
import logging
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms
from support.rundirs import make_sweep

from nst.config.paths import ROOT
from nst.errors import NstError
from nst.io.images import read, to_uint8, write_png
from nst.report.build import contact_sheet
from nst.report.loss_curves import losses_png

Floats = NDArray[np.float64]

D65, D50 = (np.array([x, y, 1 - x - y]) / y for x, y in ((0.3127, 0.3290), (0.34567, 0.35850)))
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
PRIMARIES = {
    "sRGB": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    "Display P3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "Adobe RGB": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
}
# Y = (aX + b)^g from d on, and cX before: as ICC's type 3 has them.
CURVES = dict.fromkeys(PRIMARIES, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
CURVES["Adobe RGB"] = (563 / 256, 1.0, 0.0, 0.0, 0.0)


def to_xyz(name: str) -> Floats:
    """The matrix from linear RGB of a space, whose white is D65, to XYZ of D50."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in PRIMARIES[name]]).T
    whole = columns * np.linalg.solve(columns, D65)
    adapted = np.diag((BRADFORD @ D50) / (BRADFORD @ D65))
    return np.asarray(np.linalg.inv(BRADFORD) @ adapted @ BRADFORD @ whole)


def decoded(values: Floats, curve: tuple[float, ...]) -> Floats:
    g, a, b, c, d = curve
    return np.where(values >= d, (a * values + b).clip(0) ** g, c * values)


def encoded(linear: Floats) -> NDArray[np.uint8]:
    """The levels of linear light in sRGB."""
    linear = linear.clip(0, 1)
    values = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray((255 * values).round(), np.uint8)


def as_srgb(pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    linear = decoded(pixels / 255, CURVES[name])
    return encoded(linear @ (np.linalg.inv(to_xyz("sRGB")) @ to_xyz(name)).T)


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def icc(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    """An ICC profile, version 4, of these tags."""
    text = "by hand".encode("utf-16-be")
    mluc = b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", len(text), 28) + text
    tags = {b"desc": mluc, b"cprt": mluc, b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50), **tags}
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">4xI4s4s4s", 0x04300000, kind, space, pcs) + bytes(12) + b"acsp" + bytes(28)
    head += fixed(*D50)
    whole = head.ljust(124, b"\0") + table + body
    return struct.pack(">I", len(whole) + 4) + whole


def curve(values: tuple[float, ...]) -> bytes:
    return b"para" + struct.pack(">4xHH", 3, 0) + fixed(*values)


def rgb_profile(name: str) -> bytes:
    columns = to_xyz(name).T
    tags = {tag: b"XYZ \0\0\0\0" + fixed(*column) for tag, column in zip(XYZ, columns, strict=True)}
    return icc(b"RGB ", {**tags, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(CURVES[name]))})


XYZ = (b"rXYZ", b"gXYZ", b"bXYZ")
LINEAR_GREY = icc(b"GRAY", {b"kTRC": curve((1.0, 1.0, 0.0, 0.0, 0.0))})


def cmyk_profile() -> bytes:
    """Black ink takes lightness in proportion, and any other ink takes all of it."""
    corners = [(255 if inks == 0 else 0, 128, 128) for inks in range(16)]
    straight = bytes(range(256))
    lut = b"mft1" + struct.pack(">4xBBBx", 4, 3, 2) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut += 4 * straight + b"".join(map(bytes, corners)) + 3 * straight
    return icc(b"CMYK", {b"A2B0": lut}, b"Lab ", b"prtr")


def picture(mode: str = "RGB") -> Image.Image:
    """Colours all over the cube, and no two alike."""
    pixels = np.random.default_rng(5).permutation(16 * 16 * 3 * 4).reshape(16, 16, 12) % 256
    bands = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    return Image.frombytes(mode, (16, 16), pixels[..., :bands].astype(np.uint8).tobytes())


def levels(path: Path) -> NDArray[np.int_]:
    """What is read of a picture, as levels."""
    return to_uint8(read(path, 16, "images.content")).astype(int)


def saved(image: Image.Image, path: Path, profile: bytes | None, **options: Any) -> Path:
    image.save(path, icc_profile=profile, **options)
    return path


@pytest.mark.parametrize("name", ["Display P3", "Adobe RGB"])
@pytest.mark.parametrize("form", ["png", "tiff", "webp"])
def test_a_wide_gamut_becomes_srgb(name: str, form: str, tmp_path: Path) -> None:
    image = picture()
    path = saved(image, tmp_path / f"a.{form}", rgb_profile(name), lossless=True)
    expected = as_srgb(np.asarray(image), name).astype(int)
    assert np.abs(levels(path) - expected).max() <= 2
    assert np.abs(np.asarray(image, int) - expected).max() > 20


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_of_another_curve(mode: str, tmp_path: Path) -> None:
    image = picture(mode)
    grey = encoded(np.asarray(image.getchannel(0)) / 255).astype(float)
    alpha = np.asarray(image.getchannel("A")) / 255 if mode == "LA" else 1
    expected = np.stack(3 * [grey * alpha + 255 * (1 - alpha)], axis=-1)
    assert np.abs(levels(saved(image, tmp_path / "a.png", LINEAR_GREY)) - expected).max() <= 2


def test_16_bit_grey_of_another_curve(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    path = saved(Image.fromarray(ramp), tmp_path / "a.png", LINEAR_GREY)
    assert np.abs(levels(path)[..., 0] - encoded(ramp / 65535)).max() <= 1


def test_cmyk_is_what_its_inks_look_like(tmp_path: Path) -> None:
    black = np.zeros((16, 16, 4), np.uint8)
    black[..., 3] = np.arange(256).reshape(16, 16)
    image = Image.frombytes("CMYK", (16, 16), black.tobytes())
    lightness = 100 * (1 - black[..., 3] / 255)
    light = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness * 27 / 24389)
    found = levels(saved(image, tmp_path / "a.tiff", cmyk_profile()))
    assert np.abs(found - encoded(light)[..., None]).max() <= 2


def test_transparency_is_laid_on_white_after_its_colours_are_right(tmp_path: Path) -> None:
    image = picture("RGBA")
    pixels, alpha = np.asarray(image)[..., :3], np.asarray(image)[..., 3:] / 255
    expected = as_srgb(pixels, "Display P3") * alpha + 255 * (1 - alpha)
    assert np.abs(levels(saved(image, tmp_path / "a.png", rgb_profile("Display P3"))) - expected).max() <= 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
@pytest.mark.parametrize(
    "profile",
    [
        rgb_profile("sRGB"),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        Image.open(ROOT / "data/pagoda.jpg").info["icc_profile"],
    ],
    ids=["by hand", "by Pillow", "of a photograph"],
)
def test_srgb_stays_bit_for_bit(mode: str, profile: bytes, tmp_path: Path) -> None:
    image = picture().quantize(200) if mode == "P" else picture(mode)
    plain = levels(saved(image, tmp_path / "plain.png", None))
    np.testing.assert_array_equal(levels(saved(image, tmp_path / "tagged.png", profile)), plain)


def damaged_chunk(path: Path) -> None:
    """A PNG whose profile does not unpack."""
    image, packed = io.BytesIO(), b"icc\0\0" + b"no zlib"
    picture().save(image, "PNG")
    body = b"iCCP" + packed
    chunk = struct.pack(">I", len(packed)) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(image.getvalue()[:33] + chunk + image.getvalue()[33:])


@pytest.mark.parametrize(
    "make",
    [
        lambda path: saved(picture(), path, b"no profile at all"),
        lambda path: saved(picture(), path, rgb_profile("Display P3")[:200]),
        lambda path: saved(picture(), path, icc(b"RGB ", {})),
        lambda path: saved(picture(), path, LINEAR_GREY),
        lambda path: saved(picture(), path, cmyk_profile()),
        damaged_chunk,
    ],
    ids=["text", "truncated", "empty", "grey", "cmyk", "does not unpack"],
)
def test_a_profile_that_cannot_be_used_is_one_warning(
    make: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a\x1b.png"
    make(path)
    for _ in range(2):
        np.testing.assert_array_equal(levels(path), np.asarray(picture(), int))
    [record] = caplog.records
    named = f"images.content={tmp_path}/a\\x1b.png: its colour profile cannot be used ("
    assert (record.levelno, record.message[: len(named)]) == (logging.WARNING, named)
    assert record.message.isprintable()


def test_what_is_written_says_that_it_is_srgb_and_is_read_as_it_was(tmp_path: Path) -> None:
    canvas = torch.rand(3, 16, 16)
    for name in ("a.png", "b.png"):
        write_png(canvas, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    np.testing.assert_array_equal(levels(tmp_path / "a.png"), to_uint8(canvas))
    sweep = make_sweep(tmp_path / "sweep", "a", [["seed=1"]])
    for path in (tmp_path / "a.png", contact_sheet(sweep), losses_png(sweep / "0")):
        with Image.open(path) as image:
            assert image.info["srgb"] == ImageCms.Intent.RELATIVE_COLORIMETRIC, path


@pytest.mark.parametrize(
    ("brands", "says"),
    [
        (b"heic\0\0\0\0mif1heic", "a HEIC image; pip install pillow-heif, which reads it"),
        (b"mif1\0\0\0\0mif1heix", "a HEIC image; pip install pillow-heif, which reads it"),
        (b"avif\0\0\0\0mif1avif", "an AVIF image"),
        (b"mp42\0\0\0\0isommp42", "not an image that Pillow can read"),
    ],
    ids=["heic", "mif1", "avif", "mp4"],
)
def test_a_phones_picture_is_named(
    brands: bytes, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst.io.images._formats", lambda: ["PNG"])  # as where nothing reads them
    path = tmp_path / "IMG_0001.jpg"
    path.write_bytes(struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(100))
    with pytest.raises(NstError) as caught:
        read(path, 16, "images.content")
    assert str(caught.value).startswith(f"images.content={path}: {says}")
    assert "\n" not in str(caught.value)
