"""Photographs of any shape: what is painted of them, and what is left of it everywhere."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageDraw
from support.composing import config, refusal
from support.results import paint_here, pixels, record

from nst.config.canvas_shape import canvas_shape
from nst.config.paths import ROOT
from nst.errors import NstError
from nst.execution.batch import run_batch
from nst.execution.resolve import identity_of, resolve
from nst.io.fit import Fit, fitted
from nst.io.images import read
from nst.io.video import decode
from nst.report.build import animated_sheet
from nst.report.contact_sheet import lay_out
from nst.report.grid import grid
from nst.runs.job import Job, group_batches

SMALL = ("model=vgg16", "model.weights=random", "style_layers=conv1_1", "tracking=none")


def photograph(path: Path, size: tuple[int, int] = (900, 600)) -> Path:
    """A white disc of 400 pixels on black."""
    page = Image.new("RGB", size, "black")
    middle = [side / 2 for side in size]
    ImageDraw.Draw(page).ellipse(
        [middle[0] - 200, middle[1] - 200, middle[0] + 200, middle[1] + 200], "white"
    )
    page.save(path)
    return path


@pytest.mark.parametrize(
    ("fit", "shape", "round_"),
    [(Fit.keep, (64, 96), True), (Fit.crop, (96, 96), True), (Fit.square, (96, 96), False)],
)
def test_a_circle_stays_a_circle(fit: Fit, shape: tuple[int, int], round_: bool, tmp_path: Path) -> None:
    shown = read(photograph(tmp_path / "disc.png"), 96, "x", fit)
    assert shown.shape == (3, *shape)
    disc = shown[0] > 0.5
    height, width = (int(disc.any(axis).sum()) for axis in (1, 0))
    assert (abs(height - width) <= 1) is round_
    assert disc.sum() == pytest.approx(torch.pi / 4 * height * width, rel=0.05)


@pytest.mark.parametrize("upright", range(1, 9))
def test_the_header_tells_the_shape_of_what_is_read(upright: int, tmp_path: Path) -> None:
    path, exif = tmp_path / "turned.jpg", Image.Exif()
    exif[274] = upright
    Image.new("RGB", (90, 60)).save(path, exif=exif)
    for fit in Fit:
        cell = config(*SMALL, f"images.content={path}", f"images.fit={fit.name}", "size=33")
        assert canvas_shape(cell) == read(path, 33, "x", fit).shape[1:]


@pytest.mark.parametrize("shape", [(1, 1), (600, 900), (4000, 3), (7, 7), (1, 65535)])
@pytest.mark.parametrize("size", [1, 2, 96, 2048])
def test_the_long_side_is_the_size_and_the_other_in_proportion(shape: tuple[int, int], size: int) -> None:
    found = fitted(shape, size, Fit.keep)
    assert max(found) == size
    for side, own in zip(found, shape, strict=True):
        assert side >= 1
        assert side == 1 or abs(side - own * size / max(shape)) <= 0.5
    assert fitted(found, size, Fit.keep) == found  # what a run keeps of its images is read as it is


def test_canvases_of_several_shapes_are_painted_shown_and_scored(tmp_path: Path) -> None:
    wide, tall = photograph(tmp_path / "wide.png"), photograph(tmp_path / "tall.png", (500, 900))
    style = photograph(tmp_path / "style.png", (450, 640))
    more = ("size=97", "images.style_scale=0.5", "init_image=content", f"images.style={style}", *SMALL)
    sweep, jobs = tmp_path / "sweep", list[Job]()
    for number, path in enumerate((wide, tall, wide)):
        overrides = (f"images.content={path}", f"seed={number}")
        jobs.append(
            Job(config(*more, "iterations=3", "save_every=2", *overrides), sweep / str(number), overrides)
        )
        (sweep / str(number) / ".hydra").mkdir(parents=True)
        (sweep / str(number) / ".hydra/overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    batches = group_batches(jobs, lambda some: 9)
    assert [[job.folder.name for job in batch] for batch in batches] == [["0", "2"], ["1"]]
    for batch in batches:
        assert [result.error for result in run_batch(batch)] == [None] * len(batch)
    for number, shape in enumerate([(65, 97), (97, 54), (65, 97)]):
        folder = sweep / str(number)
        assert pixels(folder).shape == (*shape, 3)
        assert np.asarray(Image.open(folder / "content.png")).shape == (*shape, 3)
        assert Image.open(folder / "style.png").size == (34, 48)
        even = tuple(side + side % 2 for side in shape)
        assert [frame.shape for frame in decode(folder / "canvas.mp4")] == [(*even, 3)] * 2
        assert set(record(folder)["scores"]) == {"lpips_content", "style_distance"}
    sheet = lay_out(grid(sweep))
    page = np.asarray(sheet.draw())
    width, height = sheet.box
    assert (width, height) == (192, 192)
    painted = [(x, y, run) for x, y, run in sheet.cells if run]
    assert len(painted) == 3
    for x, y, run in painted:
        own = pixels(run.folder)
        place = page[y : y + height, x : x + width]
        drawn = np.flatnonzero((place < 255).any((1, 2))), np.flatnonzero((place < 255).any((0, 2)))
        ratio = (np.ptp(drawn[0]) + 1) / (np.ptp(drawn[1]) + 1)
        assert ratio == pytest.approx(own.shape[0] / own.shape[1], rel=0.02)
    assert animated_sheet(sweep).exists()


def test_a_canvas_has_the_same_bits_in_a_batch_and_alone(tmp_path: Path) -> None:
    cat, more = f"images.content={ROOT}/data/cat.png", ["size=32", "images.style_scale=1.5", "iterations=4"]
    cells = [[cat, *more], [cat, *more, "init_image=style", "activation=conv"]]
    paint_here(tmp_path / "both", *cells)
    for number, cell in enumerate(cells):
        paint_here(tmp_path / "alone" / str(number), cell)
        alone, both = (
            (tmp_path / folder / "losses.csv").read_text()
            for folder in (f"alone/{number}/0", f"both/{number}")
        )
        assert alone == both


def test_how_an_image_is_fitted_counts_where_its_pixels_change(tmp_path: Path) -> None:
    square, wide = photograph(tmp_path / "square.png", (600, 600)), photograph(tmp_path / "wide.png")
    for path, distinct in ((square, 1), (wide, 3)):
        cell = (*SMALL, "size=32", f"images.content={path}", f"images.style={square}")
        assert len({identity_of(config(*cell, f"images.fit={fit.name}")) for fit in Fit}) == distinct
    cell = (*SMALL, "size=32", f"images.content={wide}", f"images.style={square}")
    assert identity_of(config(*cell)) != identity_of(config(*cell, "images.style_scale=2"))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["images.content=PATH", "size=64"],
            "images.content=PATH: is 64 x 2 pixels at size=64 and images.fit=keep",
        ),
        (["images.style=PATH", "size=64"], "images.style=PATH: is 64 x 2 pixels"),
        (["images.style_scale=0.1", "size=64"], "is 6 x 5 pixels"),
    ],
)
def test_an_image_too_narrow_for_the_layers_is_one_line(
    overrides: list[str], says: str, tmp_path: Path
) -> None:
    path = str(photograph(tmp_path / "narrow.png", (900, 30)))
    cell = config("model=vgg16", "model.weights=random", *(key.replace("PATH", path) for key in overrides))
    with pytest.raises(NstError) as caught:
        resolve(cell)
    assert says.replace("PATH", path) in str(caught.value)
    assert "the features of conv5_1 need at least 16 a side" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale", ["0", "-1", "inf", "nan"])
def test_a_style_scale_that_is_none_is_refused(scale: str) -> None:
    assert refusal(f"images.style_scale={scale}").startswith(f"images.style_scale={float(scale)}: ")
