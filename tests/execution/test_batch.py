"""Cells painted as one batch in this process: whatever is wrong with one is its own affair."""

from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support.results import paint_here, pixels, record

from nst.config.paths import ROOT
from nst.core.init_images import noise
from nst.io.images import to_uint8


def _text(path: Path) -> None:
    path.write_text("no picture at all")


def _half(path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such file"),
        (Path.touch, "empty file"),
        (Path.mkdir, "a directory"),
        (_text, "not an image"),
        (_half, "cannot be read"),
    ],
    ids=["missing", "empty", "directory", "text", "damaged"],
)
@pytest.mark.parametrize("key", ["images.content", "images.style"])
def test_a_bad_image_is_named(make: Callable[[Path], None], says: str, key: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    make(path)
    [result] = paint_here(tmp_path, [f"{key}={path}"])
    assert result.error is not None
    assert result.error.startswith(f"{key}={path}: ")
    assert says in result.error
    assert "\n" not in result.error
    assert record(tmp_path / "0")["status"] == "failed"
    assert record(tmp_path / "0")["error"] == result.error


def test_weights_of_another_shape_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"conv1_1.weight": torch.zeros(3, 3, 3, 3), "conv1_1.bias": torch.zeros(3)}, path)
    [result] = paint_here(tmp_path, [f"model.weights={path}"])
    assert result.error is not None
    assert result.error.startswith(f"model.weights={path}: its conv1_1.weight is [3, 3, 3, 3]")
    assert "[64, 3, 3, 3]" in result.error
    assert record(tmp_path / "0")["status"] == "failed"


def _exif(image: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)


SAVED: dict[str, Callable[[Image.Image, Path], None]] = {
    "alpha.png": lambda image, path: image.convert("RGBA").save(path),
    "grey.png": lambda image, path: image.convert("L").save(path),
    "palette.png": lambda image, path: image.convert("P").save(path),
    "sixteen.png": lambda image, path: Image.fromarray(
        np.asarray(image.convert("L")).astype(np.uint16) * 257
    ).save(path),
    "cmyk.jpg": lambda image, path: image.convert("CMYK").save(path),
    "exif.jpg": _exif,
}


def test_every_kind_of_image_is_painted(tmp_path: Path) -> None:
    picture = Image.open(ROOT / "data/cat.png").convert("RGB").resize((40, 60))
    for name, save in SAVED.items():
        save(picture, tmp_path / name)
    small = ["images.fit=square", "iterations=1", "style_layers=conv1_1"]
    results = paint_here(
        tmp_path,
        *([f"images.content={tmp_path / name}", *small] for name in SAVED),
    )
    assert [result.error for result in results] == [None] * len(SAVED)
    wanted = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.BILINEAR), dtype=int)
    for result, name in zip(results, SAVED, strict=True):
        used = Image.open(result.folder / "content.png")
        grey = np.asarray(used.convert("L"), dtype=int)
        turned = np.rot90(wanted, -1) if name == "exif.jpg" else wanted
        assert np.abs(grey - turned).mean() < 8, name


def test_a_diverging_cell_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    adam = ["optimizer=adam", "save_every=1", "style_layers=conv1_1"]
    good = [[*adam, "content_layers=conv2_1"], [*adam, "content_layers=conv4_1"]]
    results = paint_here(tmp_path / "with", good[0], [*adam, "optimizer.lr=1e30"], good[1])
    alone = paint_here(tmp_path / "without", *good)
    assert [result.error is None for result in results] == [True, False, True]
    assert str(results[1].error).startswith("optimizer.lr=1e+30: the loss is not a finite number")
    bad = results[1].folder
    assert (record(bad)["status"], record(bad)["error"]) == ("diverged", results[1].error)
    # Its last finite canvas is the first: after one step of 1e30 its loss is none.
    assert (record(bad)["diverged_at"], record(bad)["frames"]) == (1, [0])
    assert (pixels(bad) == to_uint8(noise((21, 32), 0)).astype(int)).all()
    assert len((bad / "losses.csv").read_text().splitlines()) == 1 + 1
    assert len(imageio.imread(bad / "canvas.mp4", plugin="FFMPEG")) == 1
    for mixed, pure in zip((results[0], results[2]), alone, strict=True):
        difference = pixels(mixed.folder).astype(int) - pixels(pure.folder)
        assert np.abs(difference).max() <= 1
        assert mixed.loss == pytest.approx(pure.loss, rel=1e-4)
