"""A batch that is interrupted in the middle, and gone on with by another process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import command, record
from test_engine import engine, readme_cell

from nst.checkpoint import Saved, Workbench, kept_batches
from nst.config import ROOT

GRID = [
    *("-m", "model=vgg16", "model.weights=random", "size=32", "iterations=400", "save_every=7"),
    *("tracking=none", "hardware.device=cpu", "hardware.checkpoint=0", "content_layers=conv1_1,conv3_1"),
]


def pixels(run: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.asarray(Image.open(run / "canvas.png"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
def test_an_engine_goes_on_bit_for_bit(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    cells = [readme_cell("conv1_1", size=16), readme_cell("conv3_1", activation="relu", size=16)]
    starts = [torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    whole = list(engine(cells, starts, kind, dtype=dtype).paint(160, 5))  # longer than L-BFGS remembers
    before = engine(cells, starts, kind, dtype=dtype)
    bench = Workbench(tmp_path, ["a", "b"])
    with pytest.raises(KeyboardInterrupt), bench.held():  # noqa: PT012
        bench.clear()
        losses = []
        for snapshot in before.paint(160, 5):
            losses.append(snapshot.losses)
            if snapshot.iteration == 120:
                bench.save(Saved(before.done, 1.5, [3, 4], before.tensors(), torch.cat(losses)))
                raise KeyboardInterrupt
    assert kept_batches(tmp_path) == [["a", "b"]]
    after = engine(cells, starts, kind, dtype=dtype)
    with bench.held():
        saved = bench.load()
        assert saved is not None
        assert (saved.done, saved.seconds, saved.pieces) == (121, 1.5, [3, 4])
        assert saved.losses.shape[0] == 121
        after.restore(saved.tensors, saved.done)
        rest = list(after.paint(160, 5))
    assert [snapshot.iteration for snapshot in rest] == [125, 130, 135, 140, 145, 150, 155, 159]
    for mine, theirs in zip(rest, whole[-len(rest) :], strict=True):
        assert torch.equal(mine.canvas, theirs.canvas)
        assert torch.equal(mine.losses, theirs.losses)
    assert not tmp_path.exists() or not list(tmp_path.iterdir())


def test_what_was_kept_and_cannot_be_read_is_begun_anew(tmp_path: Path) -> None:
    bench = Workbench(tmp_path, ["a"])
    with pytest.raises(KeyboardInterrupt), bench.held():  # noqa: PT012
        bench.clear()
        (bench.folder / "state.safetensors").write_bytes(b"\0" * 100)
        raise KeyboardInterrupt
    with bench.held():
        assert bench.load() is None


def test_two_at_the_same_batch_have_a_folder_each(tmp_path: Path) -> None:
    first, second = Workbench(tmp_path, ["a"]), Workbench(tmp_path, ["a"])
    with first.held(), second.held():
        assert first.folder != second.folder
        assert first.folder.is_dir()
        assert second.folder.is_dir()
    assert not tmp_path.exists() or not list(tmp_path.iterdir())


@pytest.mark.parametrize("optimizer", ["lbfgs"])
def test_a_killed_sweep_goes_on_in_the_middle_to_the_same_pixels(optimizer: str, tmp_path: Path) -> None:
    arguments = [*GRID, f"optimizer={optimizer}"]
    known = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    known |= {"OMP_NUM_THREADS": "1"}
    for attempt in range(2):
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "run.py"), *arguments, f"hydra.sweep.dir=outputs/{attempt}"],
            cwd=tmp_path,
            env=known,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        kept = tmp_path / "outputs/.batches"
        before = {path: path.stat().st_mtime_ns for path in kept.glob("*/state.safetensors")}
        while process.poll() is None:
            states = list(kept.glob("*/state.safetensors"))
            if states and {path: path.stat().st_mtime_ns for path in states} != before:
                break
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert record(tmp_path / f"outputs/{attempt}/0")["status"] == "running"
    ended = command(tmp_path, *arguments, "hydra.sweep.dir=outputs/last")
    assert ended.code == 0, ended.err
    log = (tmp_path / "outputs/last/0/nst.log").read_text()
    assert "going on from iteration" in log
    assert not (tmp_path / "outputs/.batches").exists()

    pure = command(tmp_path, *arguments, "hydra.sweep.dir=pure", "resume=false")
    assert pure.code == 0
    for cell in ("0", "1"):
        mine, theirs = tmp_path / "outputs/last" / cell, tmp_path / "pure" / cell
        assert (pixels(mine) == pixels(theirs)).all()
        assert (mine / "losses.csv").read_bytes() == (theirs / "losses.csv").read_bytes()
        assert record(mine)["frames"] == record(theirs)["frames"]
        films = [imageio.imread(run / "canvas.mp4", plugin="FFMPEG") for run in (mine, theirs)]
        assert films[0].shape == films[1].shape
        # Each piece begins with a frame of its own making: what H.264 loses differs a little.
        assert np.abs(films[0].astype(int) - films[1]).mean() < 8
