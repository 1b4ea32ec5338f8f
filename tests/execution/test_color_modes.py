"""Colours from the command line to the run directory, and initial images."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.composing import config, refusal
from support.results import paint_here, pixels, record

from nst.config.paths import ROOT
from nst.core.color import colors, luminance
from nst.core.resizing import cover
from nst.errors import NstError
from nst.execution.resolve import identity_of, resolve
from nst.io.fit import Fit
from nst.io.images import read
from nst.io.video import decode
from nst.replay import replay
from nst.runs.index import link_run
from nst.runs.record import RunRecord

CAT, MOSAIC = f"images.content={ROOT}/data/cat.png", f"images.style={ROOT}/data/mosaic.png"
FAST = (CAT, MOSAIC, "style_layers=conv1_1", "size=32", "iterations=3", "save_every=1")
SMALL = ("model=vgg16", "model.weights=random", "tracking=none", *FAST)


def shown(path: Path) -> torch.Tensor:
    return read(path, 32, "x", Fit.keep)


def test_colours_share_a_batch_and_each_leaves_its_own(tmp_path: Path) -> None:
    cells = [[*FAST, f"color={name}", "init_image=content"] for name in ("style", "luminance", "histogram")]
    results = paint_here(tmp_path / "together", *cells)
    assert [result.error for result in results] == [None] * 3
    for number, cell in enumerate(cells):
        [alone] = paint_here(tmp_path / str(number), cell)
        for name in ("losses.csv", "canvas.png", "style.png"):
            assert (alone.folder / name).read_bytes() == (results[number].folder / name).read_bytes()
    plain, grey, matched = (result.folder for result in results)
    content = shown(plain / "content.png")
    assert (grey / "content.png").read_bytes() == (plain / "content.png").read_bytes()
    assert (grey / "style.png").read_bytes() == (plain / "style.png").read_bytes()
    # It shows the content's chroma, in every frame, and another luminance; the first frame is the content.
    canvas = shown(grey / "canvas.png")
    within = ((canvas > 0) & (canvas < 1)).all(0)
    difference = (canvas - luminance(canvas)) - (content - luminance(content))
    assert difference.abs()[:, within].max() < 2 / 255
    assert (luminance(canvas) - luminance(content)).abs().max() > 0.02
    first = np.asarray(next(iter(decode(grey / "canvas.mp4"))), int)[: canvas.shape[1], : canvas.shape[2]]
    assert np.abs(first - np.asarray(Image.open(plain / "content.png"), int)).mean() < 8
    of, to = colors(shown(matched / "style.png")), colors(content)
    for mine, theirs in zip(of, to, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0.02)
    assert (matched / "style.png").read_bytes() != (plain / "style.png").read_bytes()


@pytest.mark.e2e
@pytest.mark.parametrize(
    "cell", [["color=luminance", "scales=pyramid", "scales.smallest=16"], ["color=histogram"]]
)
def test_a_run_in_other_colours_is_replayed(cell: list[str], tmp_path: Path) -> None:
    [result] = paint_here(
        tmp_path / "run", [*FAST, *cell, "init_image=file", f"init_image.path={ROOT}/data/pagoda.jpg"]
    )
    assert result.error is None
    hydra = result.folder / ".hydra"
    hydra.mkdir()
    from omegaconf import OmegaConf
    from support.composing import composed

    gone = shutil.copy(ROOT / "data/pagoda.jpg", tmp_path / "gone.jpg")
    OmegaConf.save(
        composed(
            [
                "model=vgg16",
                "model.weights=random",
                "tracking=none",
                "size=32",
                "iterations=3",
                *FAST,
                *cell,
                "init_image=file",
                f"init_image.path={gone}",
            ]
        ),
        hydra / "config.yaml",
    )
    Path(gone).unlink()
    assert replay(result.folder, tmp_path / "again") == "the same pixels"


def test_what_colours_decide() -> None:
    plain, grey, matched = (config(*SMALL, f"color={name}") for name in ("style", "luminance", "histogram"))
    assert len({identity_of(each) for each in (plain, grey, matched)}) == 3
    # The style image is the content itself: nothing is to be matched.
    same = f"images.style={ROOT}/data/cat.png"
    assert identity_of(config(*SMALL, same)) == identity_of(config(*SMALL, same, "color=histogram"))


def test_initial_images_are_what_they_say(tmp_path: Path) -> None:
    starts = {}
    for name in ("grey", "style_statistics"):
        resolved = resolve(config(*SMALL, f"init_image={name}", "size=128"))
        cell = resolved.cell
        starts[name] = resolved.init.canvas(cell.content, cell.styles[0], 3)
        assert starts[name].shape == cell.content.shape
    assert (starts["grey"] == 0.5).all()
    of, to = colors(starts["style_statistics"]), colors(cell.styles[0])
    for mine, theirs in zip(of, to, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0.01)


@pytest.mark.parametrize("size", [(9, 300), (300, 9), (32, 21), (1000, 700)])
def test_a_file_of_any_size_covers_the_canvas_and_its_pixels_count(
    size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "start.png"
    Image.effect_noise(size, 60).convert("RGB").save(path)
    cell = (*SMALL, "init_image=file", f"init_image.path={path}")
    resolved = resolve(config(*cell))
    start = resolved.init.canvas(resolved.cell.content, resolved.cell.styles[0], 0)
    assert start.shape == resolved.cell.content.shape
    whole = cover(read(path, max(size), "x", Fit.keep), (start.shape[1], start.shape[2]))
    assert (start - whole).abs().max() <= 0.5 / 255 + 1e-6
    other = shutil.copy(path, tmp_path / "copy.png")
    assert identity_of(config(*cell, f"init_image.path={other}")) == resolved.identity
    Image.new("RGB", size, "red").save(other)
    assert identity_of(config(*cell, f"init_image.path={other}")) != resolved.identity


def test_a_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    assert refusal("init_image=file").startswith("init_image.path: has no value")
    with pytest.raises(NstError, match=r"^init_image.path=.*: no such file; ") as caught:
        resolve(config(*SMALL, "init_image=file", f"init_image.path={tmp_path}/none.png"))
    assert "\n" not in str(caught.value)


def test_an_initial_image_is_kept_and_taken_along(tmp_path: Path) -> None:
    start = tmp_path / "start.png"
    Image.new("RGB", (50, 20), (10, 200, 30)).save(start)
    [result] = paint_here(tmp_path, [*FAST, "init_image=file", f"init_image.path={start}"])
    assert result.error is None
    kept = np.asarray(Image.open(result.folder / "init.png"))
    assert kept.shape == pixels(result.folder).shape
    assert (kept == [10, 200, 30]).all()
    assert "init.png" in record(result.folder)["files"]
    link_run(result.folder, tmp_path / "taken", "x", 30)
    assert (tmp_path / "taken/init.png").read_bytes() == (result.folder / "init.png").read_bytes()
    assert "init.png" in RunRecord.read(tmp_path / "taken").files
