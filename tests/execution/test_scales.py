"""Coarse to fine from the command line to the run directory."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from rich.console import Console
from support.composing import composed, config, refusal
from support.results import pixels, record

import nst
from nst.core.optimizers.adam import AdamConfig
from nst.core.optimizers.lbfgs import LBFGSConfig
from nst.core.scales import Pyramid
from nst.errors import NstError
from nst.execution import console
from nst.execution.batch import run_batch
from nst.execution.device import costs, estimated_gflop, most_rows
from nst.execution.plan import plan
from nst.execution.progress import BatchProgress
from nst.execution.resolve import identity_of
from nst.io.images import to_uint8
from nst.replay import replay
from nst.runs import checkpoint
from nst.runs.job import Job, group_batches

SMALL = ["model=vgg16", "model.weights=random", "size=32", "iterations=4", "tracking=none", "save_every=1"]
SMALL += ["style_layers=[conv1_1,conv2_1]", "images.fit=square"]
PYRAMID = ["scales=pyramid", "scales.smallest=16", "scales.iterations=3"]  # 16, 23 and 32 pixels
AVERAGED = ["optimizer=adam", "optimizer.average=0.5", "optimizer.bounds=clamp"]


def job(folder: Path, *overrides: str) -> Job:
    return Job(config(*SMALL, *PYRAMID, *overrides), folder, overrides)


class Killed(BaseException):
    """The process is gone."""


def test_a_pyramid_is_one_painting(tmp_path: Path) -> None:
    seen: list[BatchProgress] = []
    folder = tmp_path / "0"
    [result] = run_batch([job(folder, *AVERAGED, f"outputs={tmp_path}", "save_every=3")], seen.append)
    assert result.error is None
    known = record(folder)
    assert known["scales"] == {"16": 4, "23": 3, "32": 3}
    assert known["frames"] == [0, 3, 6, 9]
    lines = (folder / "losses.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == [*range(10)]
    assert imageio.imread(folder / "canvas.mp4", plugin="FFMPEG").shape == (4, 32, 32, 3)
    assert pixels(folder).shape == (32, 32, 3)
    assert (seen[-1].iteration, seen[-1].iterations, seen[-1].share) == (10, 10, 1)
    assert [one.each for one in seen] == sorted(one.each for one in seen)
    # What a notebook paints from what the run has kept.
    cell = nst.Cell(
        *(folder / "content.png", folder / "style.png"),
        content_layers=["conv1_1"],
        style_layers={"conv1_1": 1e3 / 16**2, "conv2_1": 1e3 / 32**2},
        style_weight=7000,
        tv_weight=1.2,
        optimizer=AdamConfig(average=0.5, bounds="clamp"),
        init="noise",
    )
    [painting] = nst.paint(
        cell,
        **{"size": 32, "iterations": 4, "model": "vgg16", "weights": "random", "device": "cpu"},
        normalize=False,
        padding="zeros",
        scales=Pyramid(smallest=16, iterations=3),
    )
    assert (to_uint8(painting.canvas) == pixels(folder)).all()
    assert len(painting.losses["total"]) == 10


@pytest.mark.e2e
# 4 and 7 are where the scale changes.
@pytest.mark.parametrize(("kind", "stops"), [("adam", [2, 7]), ("lbfgs", [4, 5])])
def test_a_killed_pyramid_goes_on_bit_for_bit(
    kind: str,
    stops: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(checkpoint, "SHARE", float("inf"))  # after every snapshot
    caplog.set_level(logging.INFO)
    own = AVERAGED if kind == "adam" else ["optimizer=lbfgs", "optimizer.average=0.5"]
    whole = [f"optimizer={kind}", "hardware.checkpoint=0", f"outputs={tmp_path}"]

    def jobs(name: str) -> list[Job]:
        return [job(tmp_path / name / "0", *whole), job(tmp_path / name / "1", *whole, *own)]

    run_batch(jobs("pure"))
    for number, last in enumerate(stops):

        def killed(progress: BatchProgress, last: int = last) -> None:
            if progress.iteration > last:
                raise Killed

        with pytest.raises(Killed):
            run_batch(jobs(f"killed{number}"), killed)
        run_batch(jobs(f"killed{number}"))
        for row in ("0", "1"):
            mine, theirs = tmp_path / f"killed{number}" / row, tmp_path / "pure" / row
            assert f"going on from iteration {last}" in (mine / "nst.log").read_text()
            assert (pixels(mine) == pixels(theirs)).all()
            assert (mine / "losses.csv").read_bytes() == (theirs / "losses.csv").read_bytes()
            assert record(mine)["frames"] == record(theirs)["frames"] == [*range(10)]
    assert not (tmp_path / ".batches").exists()


def test_a_row_without_average_goes_on_without_the_one_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoint, "SHARE", float("inf"))
    caplog.set_level(logging.INFO)
    whole = ["optimizer=adam", "hardware.checkpoint=0", f"outputs={tmp_path}"]

    def killed(progress: BatchProgress) -> None:
        if progress.iteration > 5:
            raise Killed

    with pytest.raises(Killed):
        run_batch([job(tmp_path / "a/0", *whole), job(tmp_path / "a/1", *whole, *AVERAGED)], killed)
    run_batch([job(tmp_path / "a/0", *whole)])
    run_batch([job(tmp_path / "b/0", *whole, "resume=false")])
    assert "going on from iteration 5" in (tmp_path / "a/0/nst.log").read_text()
    assert (pixels(tmp_path / "a/0") == pixels(tmp_path / "b/0")).all()


def test_a_row_that_diverged_at_a_smaller_scale_is_kept_beside_its_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoint, "SHARE", float("inf"))
    caplog.set_level(logging.INFO)
    adam = ["optimizer=adam", "hardware.checkpoint=0", f"outputs={tmp_path}"]
    jobs = [job(tmp_path / "0", *adam), job(tmp_path / "1", *adam, "optimizer.lr=1e30")]

    def killed(progress: BatchProgress) -> None:
        if progress.iteration > 5:
            raise Killed

    with pytest.raises(Killed):
        run_batch(jobs, killed)
    good, bad = run_batch(jobs)
    [alone] = run_batch([job(tmp_path / "alone", *adam, "resume=false")])
    assert "going on from iteration 5" in (tmp_path / "0/nst.log").read_text()
    assert (good.error, good.loss) == (None, alone.loss)
    assert str(bad.error).startswith(
        "optimizer.lr=1e+30: the loss is not a finite number from iteration 1 on"
    )
    assert pixels(bad.folder).shape == (32, 32, 3)


def same(first: Sequence[str], second: Sequence[str]) -> bool:
    one, other = (identity_of(config(*SMALL, *some)) for some in (first, second))
    assert one is not None
    return one == other


def test_what_a_cell_with_scales_is() -> None:
    assert same([], ["scales=pyramid", "scales.smallest=32", "scales.iterations=9"])  # one scale
    assert not same([], PYRAMID)
    assert not same(PYRAMID, [*PYRAMID, "scales.iterations=2"])
    assert not same(PYRAMID, [*PYRAMID, "scales.smallest=17"])
    for setting in AVERAGED[1:]:
        assert not same(["optimizer=adam"], ["optimizer=adam", setting])
    # What was painted before there was a choice is found again.
    assert AdamConfig().identity() == {"name": "adam", "lr": 0.06}
    assert LBFGSConfig().identity() == {"name": "lbfgs", "lr": 1.0}


def test_averages_and_bounds_share_a_batch_and_sizes_do_not(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path / str(row), "optimizer=adam", *own)
        for row, own in enumerate([[], AVERAGED, ["scales.smallest=17"], ["scales.iterations=2"], ["seed=1"]])
    ]
    batches = group_batches(jobs, lambda configs: 9)
    assert [[one.folder.name for one in batch] for batch in batches] == [["0", "1", "4"], ["2"], ["3"]]


def test_a_plan_counts_scales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = job(tmp_path / "0", f"outputs={tmp_path}")
    each = costs("vgg16", [mine.config])
    assert [iterations for iterations, _ in each] == [4, 3, 3]
    assert estimated_gflop(mine.config) == sum(iterations * cost for iterations, cost in each)
    single = config(*SMALL)
    assert each[-1][1] == costs("vgg16", [single])[0][1]
    assert each[0][1] == pytest.approx(each[-1][1] / 4)
    out: list[Any] = []
    monkeypatch.setattr(Console, "print", lambda self, *parts, **style: out.extend(map(str, parts)))
    console.show_plan(plan([mine]))
    assert "16, 23, 32 px, 10 iterations" in "\n".join(out)
    # The last scale is what has to fit, with an average as one canvas more.
    free = 2**40
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("", (), {"available": free}))
    assert most_rows([mine.config]) == most_rows([single])


def test_a_pyramid_of_a_photograph_keeps_its_shape(tmp_path: Path) -> None:
    mine = ["images.fit=keep", "images.style_scale=1.5", "init_image=content", "optimizer=adam"]
    [result] = run_batch([job(tmp_path / "0", *mine)])
    assert result.error is None
    height, width, _ = pixels(result.folder).shape
    assert height < width == 32
    video = imageio.imread(result.folder / "canvas.mp4", plugin="FFMPEG")
    assert video.shape == (10, height + height % 2, 32, 3)
    # It begins with the photograph, small, and ends with the canvas.
    content = np.asarray(Image.open(result.folder / "content.png"), dtype=int)
    assert np.abs(video[0, :height].astype(int) - content).mean() < 25
    assert np.abs(video[-1, :height].astype(int) - pixels(result.folder)).mean() < 8
    [narrow] = run_batch([job(tmp_path / "1", *mine, "style_layers=conv5_1")])
    assert narrow.error is not None
    assert "pixels at scales.smallest=16 and images.fit=keep, and the features of conv5_1" in narrow.error


def test_a_pyramid_is_replayed_to_the_same_pixels(tmp_path: Path) -> None:
    mine = [*SMALL, *PYRAMID, *AVERAGED, "images.fit=keep", "images.style_scale=1.3"]
    folder = tmp_path / "0"
    [result] = run_batch([Job(config(*mine), folder, ())])
    assert result.error is None
    (folder / ".hydra").mkdir()
    OmegaConf.save(composed(mine), folder / ".hydra/config.yaml")
    assert replay(folder, tmp_path / "again") == "the same pixels"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["scales=pyramid", "scales.smallest=8", "style_layers=conv5_1"],
            "scales.smallest=8: the features of conv5_1 need at least 16 pixels; "
            "give scales.smallest=16 or more",
        ),
        (
            ["scales=pyramid", "scales.smallest=0"],
            "scales.smallest=0: must be at least 2; give a larger number",
        ),
        (
            ["scales=pyramid", "scales.iterations=0"],
            "scales.iterations=0: must be at least 1; give a larger number",
        ),
        (
            ["optimizer.bounds=clamp"],
            "optimizer.bounds=clamp: L-BFGS has no bounds; give optimizer.bounds=none, or optimizer=adam",
        ),
        (
            ["optimizer=adam", "optimizer.bounds=box"],
            "optimizer.bounds=box: allowed are none, clamp; give one of them",
        ),
        (
            ["optimizer.average=1"],
            "optimizer.average=1.0: allowed are 0, which is no average, to 1, without 1",
        ),
        (["optimizer.average=nan"], "optimizer.average=nan: allowed are 0"),
    ],
)
def test_what_cannot_be_painted_is_one_line(overrides: list[str], says: str) -> None:
    said = refusal(*SMALL, *overrides)
    assert said.startswith(says)
    assert "\n" not in said


def test_a_pyramid_too_small_for_the_layers_is_refused_in_a_notebook() -> None:
    cell = nst.Cell(torch.zeros(3, 32, 32), torch.zeros(3, 32, 32))
    with pytest.raises(NstError, match=r"^scales.smallest=8: a canvas would be 8 x 8 pixels"):
        nst.paint(cell, size=32, model="vgg16", weights="random", scales=Pyramid(smallest=8))
