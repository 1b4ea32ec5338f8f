"""Formats and opacity of the canvas, from the command line to the run directory."""

import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from support.composing import composed, config, refusal
from support.results import pixels

from nst.api import load_run
from nst.config.paths import ROOT
from nst.execution.output_dir import conflict_in
from nst.execution.resolve import identity_of
from nst.execution.runner import paint_together
from nst.io.video import decode
from nst.replay import replay
from nst.runs.job import Job
from nst.runs.record import RunRecord, find_damage

CAT, MOSAIC = f"images.content={ROOT}/data/cat.png", f"images.style={ROOT}/data/mosaic.png"
SMALL = ("model=vgg16", "model.weights=random", "tracking=none", "hardware.device=cpu", CAT, MOSAIC)
SMALL += ("style_layers=conv1_1", "size=32", "iterations=2", "init_image=content")


def job(outputs: Path, folder: str, *overrides: str) -> Job:
    return Job(config(*SMALL, f"outputs={outputs}", *overrides), outputs / folder, (folder,))


def test_formats_are_written_kept_in_run_json_and_taken_along(tmp_path: Path) -> None:
    [jpg] = paint_together([job(tmp_path, "a/0", "canvas_format=jpg")])
    assert jpg.error is None
    assert (jpg.folder / "canvas.png").exists()
    assert "canvas.jpg" in RunRecord.read(jpg.folder).files
    [taken] = paint_together([job(tmp_path, "b/0", "canvas_format=jpg")])
    assert taken.taken_from == jpg.folder
    assert (taken.folder / "canvas.jpg").read_bytes() == (jpg.folder / "canvas.jpg").read_bytes()
    # What 8 bits hold is made of them, also in place.
    for folder in ("c/0", "a/0"):
        [webp] = paint_together([job(tmp_path, folder, "canvas_format=webp")])
        assert (webp.folder, webp.error) == (tmp_path / folder, None)
        assert (np.asarray(Image.open(webp.folder / "canvas.webp")) == pixels(jpg.folder)).all()
        record = RunRecord.read(webp.folder)
        assert {"canvas.webp", "canvas.png"} <= record.files.keys()
        assert find_damage(webp.folder, record) is None
    (jpg.folder / "canvas.jpg").write_bytes(b"x")
    assert "canvas.jpg" in str(find_damage(jpg.folder, RunRecord.read(jpg.folder)))


def test_sixteen_bits_are_painted_where_no_run_has_them(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    [png] = paint_together([job(tmp_path, "a/0")])
    wants = job(tmp_path, "a/0", "canvas_format=tiff16")
    assert identity_of(wants.config) == RunRecord.read(png.folder).identity
    assert "canvas_format=tiff16 paints it again" in str(conflict_in(tmp_path / "a/0", {Path(): wants}))
    sweep = [
        job(tmp_path, "b/0", "canvas_format=webp", "seed=9"),
        job(tmp_path, "b/1", "canvas_format=tiff16"),
    ]
    [first, second] = paint_together(sweep)
    assert {first.taken_from, second.taken_from} == {png.folder, None}
    found = tifffile.imread(second.folder / "canvas.tif")
    assert np.abs(found / 257 - pixels(second.folder)).max() <= 0.51
    assert len(np.unique(found % 257)) > 50  # not the 256 levels again
    [third] = paint_together([job(tmp_path, "c/0", "canvas_format=tiff16")])
    assert third.taken_from == second.folder
    assert (third.folder / "canvas.tif").read_bytes() == (second.folder / "canvas.tif").read_bytes()


def test_of_cells_that_are_the_same_one_is_painted_with_sixteen_bits(tmp_path: Path) -> None:
    pytest.importorskip("tifffile")
    results = paint_together([job(tmp_path, "a/0"), job(tmp_path, "a/1", "canvas_format=tiff16")])
    assert [result.error for result in results] == [None, None]
    assert sorted(str(result.taken_from) for result in results) == sorted(["None", str(tmp_path / "a/1")])


def test_a_format_that_cannot_be_written_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal("canvas_format=gif").startswith("canvas_format=gif: ")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    monkeypatch.setattr("nst.io.canvas_format.find_spec", lambda name: None)
    assert "pip install tifffile" in refusal("canvas_format=tiff16")


def test_the_transparency_of_the_content_is_given_back(tmp_path: Path) -> None:
    picture = Image.open(ROOT / "data/cat.png").convert("RGB").resize((64, 48))
    ramp = np.linspace(0, 255, 64).round().astype(np.uint8)[None].repeat(48, 0)
    picture.putalpha(Image.fromarray(ramp))
    picture.save(tmp_path / "cut.png")
    overrides = [f"images.content={tmp_path}/cut.png", "images.transparency=keep"]
    [plain] = paint_together([job(tmp_path, "a/0", overrides[0])])
    [kept] = paint_together([job(tmp_path, "a/1", *overrides, "canvas_format=webp")])
    assert (plain.error, kept.error, kept.taken_from) == (None, None, None)
    assert Image.open(plain.folder / "canvas.png").mode == "RGB"
    canvas = np.asarray(Image.open(kept.folder / "canvas.png"), int)
    assert canvas.shape == (24, 32, 4)
    assert (canvas[..., :3] == pixels(plain.folder)).all()  # it is painted all the same
    assert np.abs(canvas[..., 3] - ramp[::2, ::2]).max() < 8
    assert (np.asarray(Image.open(kept.folder / "canvas.webp"), int) == canvas).all()
    assert (kept.folder / "content.png").read_bytes() == (plain.folder / "content.png").read_bytes()
    # Who shows it lays it on white: the left is transparent.
    *_, last = decode(kept.folder / "canvas.mp4")
    assert last[:, 0].min() > 235
    assert load_run(kept.folder).canvas[:, :, 0].min() > 0.98
    (kept.folder / ".hydra").mkdir()
    OmegaConf.save(composed([*SMALL, *overrides]), kept.folder / ".hydra/config.yaml")
    (tmp_path / "cut.png").unlink()
    assert replay(kept.folder, tmp_path / "again") == "the same pixels"


def test_an_opaque_image_has_nothing_to_give_back() -> None:
    assert identity_of(config(*SMALL, "images.transparency=keep")) == identity_of(config(*SMALL))
