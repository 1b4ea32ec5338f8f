"""Reading, writing and showing images, on files that the tests make themselves."""

import io
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import psutil
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from support.composing import config

from nst.core.init_images import noise
from nst.errors import NstError
from nst.execution.batch import run_batch
from nst.execution.resolve import resolve
from nst.io.images import read, to_uint8, write_png
from nst.io.text import escape_unprintable
from nst.io.video import Video
from nst.runs.job import Job

KEY = "images.content"
PAGODA = Path(__file__).parents[2] / "data" / "pagoda.jpg"

Pixels = NDArray[np.uint8]


def picture(height: int, width: int, seed: int = 0) -> Pixels:
    """Smooth colours with a little texture, and no symmetry."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    colours = np.stack([200 * x + 20, 180 * y + 40, 120 * (x - y) + 120], axis=-1)
    texture = np.random.default_rng(seed).normal(0, 8, colours.shape)
    return (colours + texture).clip(0, 255).astype(np.uint8)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """Put a PNG together by hand, for what Pillow does not write."""

    def chunk(body: bytes) -> bytes:
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [header, *extra, b"IDAT" + zlib.compress(rows), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, parts))


def levels(path: Path, size: int) -> Pixels:
    """Read `path` and return it as the bytes `[size, size, 3]` that it must hold exactly."""
    image = read(path, size, KEY)
    assert image.dtype == torch.float32
    assert image.shape == (3, size, size)
    assert image.is_contiguous()
    assert 0 <= image.min() <= image.max() <= 1
    scaled = image.numpy().transpose(1, 2, 0) * 255
    assert np.allclose(scaled, scaled.round(), atol=1e-4)
    whole: Pixels = scaled.round().astype(np.uint8)
    return whole


def refusal(path: Path) -> str:
    """Return what `read` says against `path`, after the key and value that it must begin with."""
    with pytest.raises(NstError) as caught:
        read(path, 8, KEY)
    message = str(caught.value)
    start = f"{KEY}={escape_unprintable(str(path))}: "
    assert message.startswith(start)
    assert message.isprintable()
    return message.removeprefix(start)


# Reading: resizing


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(97, 151, 32), (64, 64, 64), (300, 40, 39), (128, 128, 127), (20, 30, 65), (500, 3, 16)],
)
def test_resizes_like_antialiased_bilinear_interpolation(
    tmp_path: Path, height: int, width: int, size: int
) -> None:
    pixels = picture(height, width)
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    whole = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    expected = F.interpolate(whole, (size, size), mode="bilinear", antialias=True, align_corners=False)[0]
    # PIL rounds to 8 bits after each of its two passes, hence one level and not zero.
    torch.testing.assert_close(read(path, size, KEY), expected, rtol=0, atol=1.001 / 255)


def test_reads_a_photograph_as_pil_does() -> None:
    seed_way = np.asarray(Image.open(PAGODA).convert("RGB").resize((128, 128), Image.Resampling.BILINEAR))
    assert np.array_equal(levels(PAGODA, 128), seed_way)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30000), (30000, 1), (2, 1)])
def test_any_aspect_ratio_becomes_the_square(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = tmp_path / "strange.png"
    Image.fromarray(np.full((*shape, 3), (10, 200, 90), np.uint8)).save(path)
    assert (levels(path, 33) == (10, 200, 90)).all()


# Reading: modes and formats, each with the pixels it must give


def test_transparency_shows_white(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0]], [[0, 0, 255, 51], [9, 9, 9, 255]]])
    Image.fromarray(rgba.astype(np.uint8)).save(path)
    expected = [[[255, 0, 0], [255, 255, 255]], [[204, 204, 255], [9, 9, 9]]]
    assert levels(path, 2).tolist() == expected


def test_grey_with_alpha_shows_white(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    grey = Image.fromarray(np.array([[0, 0], [100, 0]], np.uint8))
    grey.putalpha(Image.fromarray(np.array([[255, 0], [255, 51]], np.uint8)))
    assert grey.mode == "LA"
    grey.save(path)
    assert levels(path, 2)[..., 0].tolist() == [[0, 255], [100, 204]]


@pytest.mark.parametrize(("form", "transparency"), [("GIF", 1), ("PNG", 1), ("PNG", b"\xff\x00\xff")])
def test_transparent_palette_shows_white(tmp_path: Path, form: str, transparency: int | bytes) -> None:
    path = tmp_path / f"image.{form.lower()}"
    image = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8))
    image.putpalette([250, 0, 0, 0, 250, 0, 0, 0, 250])
    assert image.mode == "P"
    image.save(path, transparency=transparency)
    expected = [[[250, 0, 0], [255, 255, 255]], [[0, 0, 250], [250, 0, 0]]]
    assert levels(path, 2).tolist() == expected


def test_a_colour_declared_transparent_shows_white(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    pixels = np.array([[[10, 20, 30], [40, 50, 60]]] * 2, np.uint8)
    Image.fromarray(pixels).save(path, transparency=(10, 20, 30))
    assert levels(path, 2).tolist() == [[[255, 255, 255], [40, 50, 60]]] * 2


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_plain_modes(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.png"
    black_and_white = np.array([[0, 255], [255, 0]], np.uint8)
    Image.fromarray(black_and_white).convert(mode).save(path)
    assert Image.open(path).mode == mode
    assert levels(path, 2).tolist() == np.stack([black_and_white] * 3, axis=-1).tolist()


DEEP = np.array([[0, 257, 128], [129, 32896, 65535], [65406, 65407, 256]], np.uint16)
DEEP_IN_8_BITS = [[0, 1, 0], [1, 128, 255], [254, 255, 1]]


def big_endian_tiff(grey: NDArray[np.uint16]) -> bytes:
    pixels = grey.astype(">u2").tobytes()
    height, width = grey.shape
    short = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    entries = [struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in short.items()]
    entries.append(struct.pack(">HHII", 279, 4, 1, len(pixels)))
    directory = struct.pack(">H", len(entries)) + b"".join(entries) + bytes(4)
    return b"MM\0*" + struct.pack(">I", 8 + len(pixels)) + pixels + directory


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.fromarray(DEEP), "PNG"),
        encoded(Image.fromarray(DEEP), "TIFF"),
        big_endian_tiff(DEEP),
        b"P5 3 3 65535\n" + DEEP.astype(">u2").tobytes(),
    ],
    ids=["PNG", "TIFF", "big-endian TIFF", "PGM"],
)
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "deep"
    path.write_bytes(content)
    assert levels(path, 3).tolist() == np.stack([DEEP_IN_8_BITS] * 3, axis=-1).tolist()


def test_16_bit_grey_level_declared_transparent_shows_white(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    rows = b"".join(b"\0" + struct.pack(">2H", 257, 258) for _ in range(2))
    path.write_bytes(png(2, 2, 16, 0, rows, b"tRNS" + struct.pack(">H", 257)))
    assert levels(path, 2)[..., 0].tolist() == [[255, 1], [255, 1]]


def test_16_bit_colour(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(png(1, 1, 16, 2, b"\0" + struct.pack(">3H", 65535, 32896, 0)))
    assert levels(path, 1).tolist() == [[[255, 128, 0]]]


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk(tmp_path: Path, form: str) -> None:
    path = tmp_path / "print"
    colours = np.repeat(np.array([[(200, 60, 30)], [(20, 90, 220)]], np.uint8), 32, axis=0)
    image = Image.fromarray(np.repeat(colours, 64, axis=1)).convert("CMYK")
    image.save(path, form, **({"quality": 95} if form == "JPEG" else {}))
    assert Image.open(path).mode == "CMYK"
    shown = levels(path, 64).astype(int)
    assert np.abs(shown[:24] - (200, 60, 30)).max() <= 4
    assert np.abs(shown[40:] - (20, 90, 220)).max() <= 4


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(tmp_path: Path, form: str) -> None:
    path = tmp_path / "moving"
    first, *others = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    first.save(path, form, save_all=True, append_images=others, lossless=True)
    with Image.open(path) as saved:
        assert getattr(saved, "n_frames", 1) == 3
    assert (levels(path, 4) == (255, 0, 0)).all()


def test_content_decides_and_not_the_extension(tmp_path: Path) -> None:
    pixels = picture(8, 8)
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encoded(Image.fromarray(pixels), "PNG"))
    assert np.array_equal(levels(path, 8), pixels)


@pytest.mark.parametrize(
    "name", ["東京 ünï.png", "é" * 125 + "a.png", "-o.png", "a'b\"$(c).png", "a\n[red]\x1b[31m.png"]
)
def test_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    pixels = picture(8, 8)
    Image.fromarray(pixels).save(path)
    assert np.array_equal(levels(path, 8), pixels)


# By the EXIF specification: where on the upright image the stored row r and column c lie.
ORIENTATIONS: dict[int, Callable[[Any, Any, int, int], tuple[Any, Any]]] = {
    1: lambda r, c, height, width: (r, c),
    2: lambda r, c, height, width: (r, width - 1 - c),
    3: lambda r, c, height, width: (height - 1 - r, width - 1 - c),
    4: lambda r, c, height, width: (height - 1 - r, c),
    5: lambda r, c, height, width: (c, r),
    6: lambda r, c, height, width: (c, width - 1 - r),
    7: lambda r, c, height, width: (height - 1 - c, width - 1 - r),
    8: lambda r, c, height, width: (height - 1 - c, r),
}


def stored(upright: Pixels, orientation: int) -> Image.Image:
    height, width = upright.shape[:2]
    shape = (width, height) if orientation >= 5 else (height, width)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return Image.fromarray(upright[ORIENTATIONS[orientation](rows, columns, height, width)])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, form: str) -> None:
    upright = picture(24, 40)
    path = tmp_path / "turned"
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored(upright, orientation).save(path, form, exif=exif, lossless=True)
    expected = Image.fromarray(upright).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(levels(path, 16), np.asarray(expected))


def test_a_malformed_exif_tag_does_not_keep_a_photograph_from_turning(tmp_path: Path) -> None:
    upright = picture(8, 8)
    # Two tags: an orientation, and an image width that claims to be text.
    entries = struct.pack("<HHII", 0x0100, 2, 4, 0x616161) + struct.pack("<HHII", 0x0112, 3, 1, 6)
    block = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    path = tmp_path / "photo.png"
    stored(upright, 6).save(path, exif=block)
    assert np.array_equal(levels(path, 8), upright)


# Reading: what is refused


def test_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("foo.jpg", "file/foo.jpg", "dangling", "fo\n\x1b[31mo.jpg", "[red]<b>.jpg"):
        assert refusal(tmp_path / name) == ("no such file; give the path of an image (PNG, JPEG, ...)")


def test_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith("a directory;")


def test_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    assert refusal(path).startswith("an empty file;")


def test_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("Buy paint.\n")
    assert refusal(path).startswith("not an image that Pillow can read;")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated(tmp_path: Path, form: str, share: float) -> None:
    path = tmp_path / "cut"
    content = encoded(Image.fromarray(picture(64, 64)), form)
    path.write_bytes(content[: int(len(content) * share)])
    assert refusal(path).startswith(("cannot be read (", "not an image"))


def test_postscript_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "program.eps"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n{} loop\n%%EOF\n")
    with Image.open(path) as image:
        assert image.format == "EPS"
    assert refusal(path).startswith("not an image that Pillow can read;")


def test_text_that_unpacks_without_end(tmp_path: Path) -> None:
    path = tmp_path / "novel.png"
    path.write_bytes(png(1, 1, 8, 0, b"\0\0", b"zTXtnovel\0\0" + zlib.compress(bytes(1 << 24))))
    assert refusal(path).startswith("cannot be read (Decompressed data too large")


def test_corrupt_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "corrupt.png"
    content = bytearray(encoded(Image.fromarray(picture(64, 64)), "PNG"))
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith("cannot be read (")
    assert message.endswith("); if it is damaged, fetch it or save it again")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO"]),
    damage=st.lists(st.tuples(st.integers(0, 255), st.floats(0, 1)), max_size=4),
    share=st.floats(0, 1),
)
def test_damage_is_refused_or_read_but_nothing_else(
    tmp_path: Path, form: str, damage: list[tuple[int, float]], share: float
) -> None:
    content = bytearray(encoded(Image.fromarray(picture(16, 16)), form))
    for byte, place in damage:
        # Squared, because headers are where a flipped byte has the strangest effects.
        content[int(place**2 * (len(content) - 1))] = byte
    path = tmp_path / "damaged"
    path.write_bytes(content[: 1 + int(share * len(content))])
    try:
        levels(path, 8)
    except NstError:
        refusal(path)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_unknown_range(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "science.tiff"
    Image.new(mode, (4, 4), 1).save(path)
    assert refusal(path).startswith("its pixels are 32-bit numbers")


def test_a_pipe_or_device_is_refused_without_waiting(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.png"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.png"))
        for path in (fifo, tmp_path / "socket.png", Path("/dev/zero")):
            assert refusal(path).startswith("a pipe, socket or device;")


@pytest.mark.parametrize("name", ["nul\0byte.png", "x" * 300])
def test_impossible_path(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path / name).startswith("cannot be read (")


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may read anything, so stop being root for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_no_permission(closed: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # tmp_path is in a folder that is root's alone
        folder = Path(name)
        path = folder / "secret.png"
        Image.new("RGB", (2, 2)).save(path)
        folder.chmod(0o755)
        (path if closed == "file" else folder).chmod(0)
        with unprivileged():
            message = refusal(path)
        folder.chmod(0o700)
    assert message == "no permission to read it; allow it (chmod), or give another image"


def test_a_cell_says_so_too(tmp_path: Path) -> None:
    """What looks at the file before `read` does must not fail in another way."""
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name in ("~nobody-of-that-name/x.png", "x" * 300, "nul\0byte.png", f"{tmp_path}/loop.png"):
        cell = config("model=vgg16", "model.weights=random", "size=24")
        cell.images.content = name
        with pytest.raises(NstError) as caught:
            resolve(cell)
        assert str(caught.value).startswith(f"images.content={escape_unprintable(name)}: ")
    with tempfile.TemporaryDirectory() as closed:
        cell.images.content = f"{closed}/x.png"
        Path(closed).chmod(0)
        with unprivileged(), pytest.raises(NstError, match="no permission to read it"):
            resolve(cell)


def test_a_folder_with_the_longest_name_there_can_be(tmp_path: Path) -> None:
    folder, image = tmp_path / ("é" * 127 + "a"), tmp_path / ("ü" * 125 + "a.png")
    Image.fromarray(picture(20, 30)).save(image)
    small = ["model=vgg16", "model.weights=random", "size=24", "iterations=2", "hardware.device=cpu"]
    cell = config(*small, "tracking=none", f"images.style='{image}'", f"outputs='{tmp_path / 'o'}'")
    [result] = run_batch([Job(cell, folder, (f"images.style={image}",))])
    assert result.error is None
    assert {"canvas.png", "canvas.mp4", "run.json", "losses.png"} <= {path.name for path in folder.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, image.name}


def test_decompression_bomb(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(20000, 20000, 8, 2, b""))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refusal(path)
    assert message.startswith("too large (Image size (400000000 pixels) exceeds limit of 178956970")
    assert message.endswith("; resize it, then try again")


def test_a_large_image_is_read_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (12, 12), "red").save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # warns above it, refuses above twice it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (levels(path, 4) == (255, 0, 0)).all()
    Image.new("RGB", (15, 15), "red").save(path)
    assert refusal(path).startswith("too large (Image size (225 pixels)")


# Initial canvas


def test_noise_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = noise((64, 64), seed=7)
    torch.manual_seed(2)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            again = noise((64, 64), seed=7)
    finally:
        torch.set_default_dtype(torch.float32)
    assert first.shape == (3, 64, 64)
    assert first.dtype == torch.float32
    assert first.device.type == "cpu"
    assert torch.equal(first, again)
    assert not torch.equal(first, noise((64, 64), seed=8))


def test_noise_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    noise((32, 32), seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_is_standard_normal() -> None:
    for channel in noise((128, 128), seed=0).double():
        assert abs(channel.mean()) < 0.03
        assert abs(channel.std() - 1) < 0.03
        assert abs((channel**4).mean() - 3) < 0.2
        rows = channel[1:] * channel[:-1]
        assert abs(rows.mean()) < 0.03


# Showing and writing


def test_to_uint8_rounds_and_clamps() -> None:
    inf, nan = float("inf"), float("nan")
    values = [-1.0, 0.49 / 255, 0.51 / 255, 127.4 / 255, 127.6 / 255, 1.0, 7.0, -inf, inf, nan]
    row = torch.tensor(values).expand(3, 1, -1)
    shown = to_uint8(row)
    assert shown.dtype == np.uint8
    assert shown.shape == (1, len(values), 3)
    assert shown[0, :, 1].tolist() == [0, 0, 1, 127, 128, 255, 255, 0, 255, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_to_uint8_of_a_batch(dtype: torch.dtype) -> None:
    batch = torch.rand(4, 3, 5, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    before = batch.clone()
    shown = to_uint8(batch.requires_grad_())
    assert shown.shape == (4, 5, 6, 3)
    assert shown.flags.c_contiguous
    assert all(np.array_equal(to_uint8(row), cell) for row, cell in zip(batch, shown, strict=True))
    assert abs(shown[2, 3, 4, 1] / 255 - batch[2, 1, 3, 4].item()) <= 0.501 / 255
    assert torch.equal(batch, before)


def test_png_round_trip_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "canväs 東京.png"
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    canvas = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    write_png(canvas, path)
    assert np.array_equal(np.asarray(Image.open(path)), pixels)
    assert torch.equal(read(path, 16, KEY), canvas)
    assert list(tmp_path.iterdir()) == [path]


def test_png_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "canvas.png"
    path.write_bytes(b"what was there")
    with pytest.raises(TypeError):  # five channels are no image
        write_png(torch.zeros(5, 4, 4), path)
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


# Videos


def frames(count: int, height: int, width: int) -> list[Pixels]:
    """Smooth frames, each recognisable by its brightness."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    base = np.stack([100 * x, 60 * y, 80 * (1 - x)], axis=-1)
    return [(base + 150 * i / count).astype(np.uint8) for i in range(count)]


def decoded(path: Path) -> Pixels:
    video: Pixels = iio.imread(path, plugin="FFMPEG")
    return video


def ffmpeg() -> psutil.Process:
    (child,) = [child for child in psutil.Process().children() if "ffmpeg" in child.name()]
    return child


@pytest.mark.parametrize("size", [(48, 48), (65, 65), (32, 81), (1, 1), (64, 2)])
def test_video_shows_its_frames(
    tmp_path: Path, size: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "canväs: 100%d.mp4"
    written = frames(30, *size)
    with Video(path, fps=25, size=size[0] if size[0] == size[1] else size) as video:
        for frame in written:
            video.append(frame)
        assert not path.exists()
    assert list(tmp_path.iterdir()) == [path]
    assert capfd.readouterr() == ("", "")

    height, width = size
    shown = decoded(path)
    assert shown.shape == (30, height + height % 2, width + width % 2, 3)
    tight = min(size) >= 32  # of a few pixels, 4:2:0 keeps a blend
    for expected, frame in zip(written, shown, strict=True):
        difference = frame[:height, :width].astype(int) - expected
        assert np.abs(difference).mean() < (3 if tight else 12)
    # The row and column that were added repeat their neighbours.
    added = shown[:, :, -1].astype(int) - shown[:, :, width - 1]
    assert np.abs(added).mean() < 4
    added = shown[:, -1].astype(int) - shown[:, height - 1]
    assert np.abs(added).mean() < 4


def test_video_plays_in_browsers(tmp_path: Path) -> None:
    path = tmp_path / "canvas.mp4"
    with Video(path, fps=7.5, size=32) as video:
        for frame in frames(15, 32, 32):
            video.append(frame)
    about = iio.immeta(path, plugin="FFMPEG")
    assert about["codec"] == "h264"
    assert about["pix_fmt"].startswith("yuv420p(tv, bt709/bt709/iec61966-2-1")
    assert about["fps"] == 7.5
    assert about["duration"] == 2.0
    content = path.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")  # playable before it is all there


def test_video_of_one_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("http:canvas.mp4")  # which ffmpeg could take for an address
    with Video(path, fps=30, size=16) as video:
        video.append(frames(1, 16, 16)[0])
    assert len(decoded(tmp_path / path)) == 1


def test_video_takes_frames_that_are_views(tmp_path: Path) -> None:
    path = tmp_path / "canvas.mp4"
    mirrored = np.ascontiguousarray(picture(32, 32)[:, ::-1])
    with Video(path, fps=30, size=32) as video:
        video.append(mirrored[:, ::-1])
    assert np.abs(decoded(path)[0].astype(int) - picture(32, 32)).mean() < 8


@pytest.mark.parametrize("old", [None, b"what was there"])
def test_video_that_fails_leaves_nothing(tmp_path: Path, old: bytes | None) -> None:
    path = tmp_path / "canvas.mp4"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(KeyboardInterrupt), Video(path, fps=30, size=32) as video:  # noqa: PT012
        video.append(picture(32, 32))
        encoder = ffmpeg()
        raise KeyboardInterrupt
    assert not encoder.is_running()
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([] if old is None else [old])


def test_video_of_a_killed_process_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "canvas.mp4"
    script = (
        "import os, signal, sys, pathlib, numpy\n"
        "from nst.io.video import Video\n"
        "with Video(pathlib.Path(sys.argv[1]), 30, 32) as video:\n"
        "    for _ in range(20): video.append(numpy.zeros((32, 32, 3), numpy.uint8))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], cwd=PAGODA.parents[1])
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((32, 31, 3), np.uint8),
        np.zeros((3, 32, 32), np.uint8),
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 3), np.float32),
    ],
)
def test_video_refuses_other_frames(tmp_path: Path, frame: Any) -> None:
    with (
        pytest.raises(ValueError, match=r"a frame is uint8 \(32, 32, 3\), not "),
        Video(tmp_path / "canvas.mp4", fps=30, size=32) as video,
    ):
        video.append(frame)
    assert not list(tmp_path.iterdir())


def test_video_without_frames_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="at least one frame"),
        Video(tmp_path / "canvas.mp4", fps=30, size=32),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("more", [0, 1])
def test_death_of_ffmpeg_is_reported(tmp_path: Path, more: int) -> None:
    path = tmp_path / "canvas.mp4"
    with pytest.raises(NstError) as caught, Video(path, fps=30, size=64) as video:  # noqa: PT012
        video.append(picture(64, 64))
        encoder = ffmpeg()
        encoder.kill()
        while encoder.status() != psutil.STATUS_ZOMBIE:
            pass
        for _ in range(more):
            video.append(picture(64, 64))
    assert str(caught.value) == (
        f"{path}: ffmpeg ended with status -9 before the video was whole (it gave no reason); "
        "see that the disk has space for it, then run again"
    )
    assert not list(tmp_path.iterdir())


def test_full_disk_is_reported(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a disk small enough to fill")
    try:
        path = tmp_path / "canvas.mp4"
        random = np.random.default_rng(0)
        with pytest.raises(NstError) as caught, Video(path, fps=30, size=128) as video:  # noqa: PT012
            for _ in range(200):
                video.append(random.integers(0, 256, (128, 128, 3), dtype=np.uint8))
        message = str(caught.value)
        assert message.startswith(f"{path}: ffmpeg ended with status ")
        assert "No space left on device" in message
        assert "\n" not in message
        assert not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_missing_ffmpeg_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    path = tmp_path / "canvas.mp4"
    with pytest.raises(NstError) as caught, Video(path, fps=30, size=32):
        pass
    assert str(caught.value) == (
        f"{path}: cannot start ffmpeg to write it ([Errno 2] No such file or directory: "
        "'/nowhere/ffmpeg'); install ffmpeg, or set IMAGEIO_FFMPEG_EXE to one"
    )
    assert not list(tmp_path.iterdir())
