"""A canvas in every format: at full quality, tagged sRGB, and with its opacity where the format has one."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from nst.io.canvas_files import convert_canvas, on_white, write_canvas
from nst.io.canvas_format import FILES, CanvasFormat
from nst.io.color import laid_on_white
from nst.io.fit import Fit
from nst.io.images import read, read_alpha, to_uint8, write_png

CANVAS = torch.rand(3, 21, 30, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
ALPHA = torch.linspace(0, 1, 30).mul(255).round().div(255).expand(1, 21, 30)


def written(folder: Path, name: str, alpha: torch.Tensor | None = None) -> Path:
    write_canvas(CANVAS, folder, CanvasFormat[name], alpha)
    return folder / FILES[CanvasFormat[name]]


@pytest.mark.parametrize(("name", "off"), [("png", 0), ("webp", 0), ("jpg", 12)])
def test_eight_bits_are_what_is_shown(name: str, off: int, tmp_path: Path) -> None:
    with Image.open(written(tmp_path, name)) as image:
        assert image.mode == "RGB"
        difference = np.abs(np.asarray(image, int) - to_uint8(CANVAS))
        assert difference.max() <= off
        assert difference.mean() < 1
        if name != "png":
            profile = ImageCms.ImageCmsProfile(BytesIO(image.info["icc_profile"]))
            assert "sRGB" in ImageCms.getProfileDescription(profile)
    # What is tagged is read back as it is.
    back = read(tmp_path / FILES[CanvasFormat[name]], 30, "x", Fit.keep)
    assert (back - CANVAS.clamp(0, 1)).abs().max() <= (off + 0.51) / 255


def test_png_is_as_ever(tmp_path: Path) -> None:
    write_png(CANVAS, tmp_path / "other.png")
    assert written(tmp_path, "png").read_bytes() == (tmp_path / "other.png").read_bytes()


@pytest.mark.parametrize("alpha", [None, ALPHA], ids=["opaque", "transparent"])
def test_tiff_has_sixteen_bits_of_the_canvas_itself(alpha: torch.Tensor | None, tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = written(tmp_path, "tiff16", alpha)
    with tifffile.TiffFile(path) as tiff:
        found, tags = tiff.asarray(), tiff.pages[0].tags
        assert b"sRGB" in tags["InterColorProfile"].value.replace(b"\0", b"")
    channels = CANVAS if alpha is None else torch.cat([CANVAS, alpha])
    assert found.dtype == np.uint16
    assert found.shape == (21, 30, len(channels))
    wanted = channels.double().clamp(0, 1).movedim(0, -1).numpy() * 65535
    assert np.abs(found - wanted).max() <= 0.5
    assert written(tmp_path / "..", "tiff16", alpha).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["png", "webp", "tiff16"])
def test_formats_that_can_keep_the_opacity(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, name, ALPHA)
    if name == "tiff16":
        tifffile = pytest.importorskip("tifffile")
        alpha, colors = np.split(tifffile.imread(path) / 257, [3], 2)[::-1]
    else:
        with Image.open(path) as image:
            assert image.mode == "RGBA"
            alpha, colors = np.split(np.asarray(image, int), [3], 2)[::-1]
    assert (alpha[..., 0] == ALPHA[0].numpy() * 255).all()
    assert np.abs(colors - to_uint8(CANVAS)).max() <= 0.5  # under what is transparent, too


def test_jpeg_and_whoever_shows_it_lay_it_on_white(tmp_path: Path) -> None:
    shown = to_uint8(on_white(CANVAS, ALPHA)).astype(int)
    with Image.open(written(tmp_path, "jpg", ALPHA)) as image:
        assert np.abs(np.asarray(image, int) - shown).mean() < 1
    with Image.open(written(tmp_path, "png", ALPHA)) as image:
        assert np.abs(np.asarray(laid_on_white(image), int) - shown).max() <= 1
    assert (shown[:, 0] == 255).all()


@pytest.mark.parametrize("alpha", [None, ALPHA], ids=["opaque", "transparent"])
@pytest.mark.parametrize("name", ["jpg", "webp"])
def test_made_of_the_png_it_is_the_same_file(name: str, alpha: torch.Tensor | None, tmp_path: Path) -> None:
    written(tmp_path, "png", alpha)
    painted = written(tmp_path, name, alpha).read_bytes()
    (tmp_path / FILES[CanvasFormat[name]]).unlink()
    convert_canvas(tmp_path, CanvasFormat[name])
    if name == "webp" or alpha is None:
        assert (tmp_path / FILES[CanvasFormat[name]]).read_bytes() == painted
    else:  # rounded before and after it is laid on white
        with Image.open(tmp_path / "canvas.jpg") as mine, Image.open(BytesIO(painted)) as theirs:
            assert np.abs(np.asarray(mine, int) - np.asarray(theirs, int)).mean() < 1


def test_opacity_is_read_in_the_shape_of_the_image(tmp_path: Path) -> None:
    path = written(tmp_path, "png", ALPHA)
    assert torch.equal(read_alpha(path, 30, "x", Fit.keep), ALPHA)
    for fit, shape in ((Fit.square, (16, 16)), (Fit.keep, (11, 16)), (Fit.crop, (16, 16))):
        found = read_alpha(path, 16, "x", fit)
        assert found.shape == (1, *shape)
        assert read(path, 16, "x", fit).shape == (3, *shape)
    assert read_alpha(written(tmp_path, "jpg"), 30, "x", Fit.keep) is None
    assert read_alpha(written(tmp_path, "png", torch.ones(1, 21, 30)), 30, "x", Fit.keep) is None
