"""What `save_every` does not decide: when signals are heeded, checkpoints taken, and divergence seen."""

import math
import re
import signal
from pathlib import Path

import pytest
import torch
from support.cells import engine, image, readme_cell
from support.command import Running, command
from support.composing import config
from support.results import pixels, record

from nst.core import engine as engine_module
from nst.execution.batch import run_batch
from nst.execution.progress import BatchProgress
from nst.runs.job import Job

SMALL = ("model=vgg16", "model.weights=random", "hardware.device=cpu", "tracking=none")


@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
def test_reports_between_frames_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cells, starts = [readme_cell(size=16, layers=["conv1_1", "conv2_1"])], [image(5, 16)]
    monkeypatch.setattr(engine_module, "REPORT_SECONDS", math.inf)
    monkeypatch.setattr(engine_module, "REPORT_ITERATIONS", 4)
    often = list(engine(cells, starts, kind).paint(30, 20))
    monkeypatch.setattr(engine_module, "REPORT_ITERATIONS", 1)
    always = list(engine(cells, starts, kind).paint(30, 1))
    # Few at first, then as many iterations between two as are allowed, but for where a frame is.
    assert [shot.iteration for shot in often] == [0, 1, 3, 7, 11, 15, 19, 20, 24, 28, 29]
    assert [shot.iteration for shot in often if shot.canvas is not None] == [0, 20, 29]
    assert [len(shot.losses) for shot in always] == [1] * 30
    assert torch.equal(torch.cat([s.losses for s in often]), torch.cat([s.losses for s in always]))
    for shot in often:
        if shot.canvas is not None:
            assert torch.equal(shot.canvas, always[shot.iteration].canvas)


def test_divergence_is_seen_long_before_the_next_frame(tmp_path: Path) -> None:
    overrides = ("size=24", "optimizer=adam", "optimizer.lr=1e30", "iterations=20000", "save_every=20000")
    cell = config(*SMALL, *overrides, f"outputs={tmp_path}", "hardware.checkpoint=1000")
    seen = list[BatchProgress]()
    [result] = run_batch([Job(cell, tmp_path / "run", ("seed=0",))], seen.append)
    assert result.status == "diverged"
    assert seen[-1].iteration < 10000
    found = record(tmp_path / "run")
    assert found["frames"] == [0]
    # What is finite is kept, up to there.
    assert len((tmp_path / "run/losses.csv").read_text().splitlines()) == 1 + found["diverged_at"]


def test_a_signal_between_two_frames_keeps_the_batch_there(tmp_path: Path) -> None:
    cell = [*SMALL, "size=48", "iterations=80", "save_every=20000", "hydra.run.dir=run"]
    cell += ["style_layers=conv2_1"]  # a shallow network is fast
    running = Running(tmp_path, *cell)
    running.until(lambda: list(tmp_path.glob("outputs/.batches/*/*.mp4")))
    running.send(signal.SIGINT)
    ended = running.ended()
    assert ended.code == 128 + signal.SIGINT, ended.err
    found = record(tmp_path / "run")
    assert (found["status"], found["frames"]) == ("interrupted", [0])

    again = command(tmp_path, *cell)
    assert again.code == 0, again.err
    went_on = re.search(r"going on from iteration (\d+)", (tmp_path / "run/nst.log").read_text())
    assert went_on is not None
    assert 0 < int(went_on[1]) < 80
    pure = command(tmp_path, *cell, "hydra.run.dir=pure", "resume=false")
    assert pure.code == 0, pure.err
    mine, theirs = tmp_path / "run", tmp_path / "pure"
    assert (pixels(mine) == pixels(theirs)).all()
    assert (mine / "losses.csv").read_bytes() == (theirs / "losses.csv").read_bytes()
    assert record(mine)["frames"] == record(theirs)["frames"] == [0, 79]


def test_a_cell_without_a_finite_loss_at_all_does_not_end_the_batch(tmp_path: Path) -> None:
    base = (*SMALL, "size=24", "iterations=5", f"outputs={tmp_path}", "hardware.checkpoint=0")
    configs = [config(*base, "weights.tv=3e38"), config(*base)]
    jobs = [Job(one, tmp_path / str(number), (str(number),)) for number, one in enumerate(configs)]
    assert [result.status for result in run_batch(jobs)] == ["diverged", "finished"]
    assert record(tmp_path / "0")["diverged_at"] == 0
