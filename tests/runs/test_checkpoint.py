"""A batch that is interrupted in the middle, and gone on with by another process."""

import hashlib
import json
import math
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from support.cells import engine, painted, painter, readme_cell
from support.command import command
from support.forked import start
from support.results import paint_here, pixels, record

from nst.config.paths import ROOT
from nst.core.engine import Engine
from nst.core.painter import Painter
from nst.core.scales import Scale
from nst.runs.checkpoint import (
    CELLS,
    STATE,
    BatchCheckpoint,
    CheckpointDirectory,
    checkpointed_batches,
    fingerprint,
    remove_stale_batches,
)

GRID = [
    *("-m", "model=vgg16", "model.weights=random", "size=24", "iterations=60", "save_every=7"),
    *("tracking=none", "hardware.device=cpu", "hardware.checkpoint=0", "content_layers=conv1_1,conv3_1"),
    "style_layers=conv2_1",
]
shallow_cell = partial(readme_cell, size=16, layers=["conv1_1", "conv2_1"])


def kept_at(
    engine: Engine, segments: list[list[str]], frames: list[list[int]], losses: list[torch.Tensor]
) -> BatchCheckpoint:
    columns = list(engine.objective.columns)
    return BatchCheckpoint(
        engine.done, 1.5, segments, frames, engine.tensors(), torch.cat(losses), {}, columns
    )


def painted_to(last: int, engine: Engine, iterations: int, save_every: int) -> list[torch.Tensor]:
    """The losses of the snapshots up to the iteration `last`, after which painting was broken off."""
    losses = []
    for snapshot in engine.paint(iterations, save_every):
        losses.append(snapshot.losses)
        if snapshot.iteration == last:
            break
    return losses


# L-BFGS: at a time when it has begun to forget.
@pytest.mark.parametrize(
    ("kind", "dtype", "iterations", "at"),
    [("adam", torch.float64, 16, 10), ("lbfgs", torch.float32, 125, 110)],
)
def test_an_engine_goes_on_bit_for_bit(
    kind: str, dtype: torch.dtype, iterations: int, at: int, tmp_path: Path
) -> None:
    cells = [shallow_cell("conv1_1"), shallow_cell("conv2_1", activation="relu")]
    starts = [torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    whole, every = painted(engine(cells, starts, kind, dtype=dtype), iterations)
    before = engine(cells, starts, kind, dtype=dtype)
    directory = CheckpointDirectory(tmp_path, ["a", "b"])
    with pytest.raises(KeyboardInterrupt), directory.held():  # noqa: PT012
        directory.clear()
        losses = painted_to(at, before, iterations, 5)
        for segment in ("0-0", "0-1", "1-0"):
            (directory.folder / f"{segment}.mp4").touch()
        frames, segments = [list(range(0, at + 1, 5))] * 2, [[EMPTY] * 2, [EMPTY]]
        directory.save(kept_at(before, segments, frames, losses))
        raise KeyboardInterrupt
    assert checkpointed_batches(tmp_path) == [["a", "b"]]
    fresh = painter(cells, starts, kind, dtype=dtype, scales=[Scale(16, iterations)])
    after = fresh.engine
    with directory.held():
        saved = directory.load(fresh)
        assert saved is not None
        assert (saved.done, saved.seconds, saved.segments, saved.frames) == (at + 1, 1.5, segments, frames)
        assert saved.losses.shape[0] == at + 1
        after.restore(saved.tensors, saved.done)
        rest, losses = painted(after, iterations)
    for mine, theirs in zip(rest, whole[-len(rest) :], strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(losses, every[at + 1 :])
    assert not tmp_path.exists() or not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
@pytest.mark.parametrize("rows", [[1], [2, 0]], ids=str)
def test_some_rows_of_a_kept_batch_go_on_without_the_others(
    rows: list[int], kind: str, tmp_path: Path
) -> None:
    """As after a kill when the first of its cells said that they are finished."""
    cells = [shallow_cell(layer) for layer in ("conv1_1", "conv1_2", "conv2_1")]
    starts = [torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    whole, _ = painted(engine(cells, starts, kind), 20)
    before, directory = engine(cells, starts, kind), CheckpointDirectory(tmp_path, ["a", "b", "c"])
    with pytest.raises(KeyboardInterrupt), directory.held():  # noqa: PT012
        directory.clear()
        losses = painted_to(10, before, 20, 5)
        for row in range(3):
            (directory.folder / f"{row}-0.mp4").write_text(str(row))
        hashes = [[hashlib.sha256(str(row).encode()).hexdigest()] for row in range(3)]
        directory.save(kept_at(before, hashes, [[0, 5, 10]] * 3, losses))
        raise KeyboardInterrupt
    some = CheckpointDirectory(tmp_path, ["abc"[row] for row in rows])
    fresh = painter([cells[row] for row in rows], [starts[row] for row in rows], kind, scales=[Scale(16, 20)])
    after = fresh.engine
    with some.held():
        assert some.folder != directory.folder
        saved = some.load(fresh)
        assert saved is not None
        segments = [(some.folder / f"{new}-0.mp4").read_text() for new in range(len(rows))]
        assert segments == [str(row) for row in rows]
        after.restore(saved.tensors, saved.done)
        rest, _ = painted(after, 20)
    for mine, theirs in zip(rest, whole[-len(rest) :], strict=True):
        assert torch.allclose(mine, theirs[rows], atol=1e-6)
    columns = [before.objective.columns.index(name) for name in after.objective.columns]
    assert torch.equal(saved.losses, torch.cat(losses)[:, rows][:, :, columns])
    # The rest may still be wanted; when all are finished nothing is left.
    remove_stale_batches(tmp_path, {"a", "b"})
    assert checkpointed_batches(tmp_path) == [["a", "b", "c"]]
    with pytest.raises(KeyboardInterrupt), directory.held():  # noqa: PT012
        remove_stale_batches(tmp_path, {"a", "b", "c"})
        assert checkpointed_batches(tmp_path) == [["a", "b", "c"]]
        raise KeyboardInterrupt
    remove_stale_batches(tmp_path, {"a", "b", "c"})
    assert not tmp_path.exists()


def test_what_nobody_can_go_on_with_is_removed(tmp_path: Path) -> None:
    place = tmp_path / "outputs/.batches"
    for name, files in {"begun": ["cells.json", "0-0.mp4"], "unknown": [STATE], "empty": []}.items():
        (place / name).mkdir(parents=True)
        for file in files:
            (place / name / file).touch()
    (place / "gone.lock").touch()
    remove_stale_batches(tmp_path / "outputs", set())
    assert list(tmp_path.iterdir()) == []


@cache
def small_painter(kind: str = "lbfgs") -> Painter:
    cells = [shallow_cell("conv1_1"), shallow_cell("conv2_1")]
    starts = [torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    return painter(cells, starts, kind, dtype=torch.float32, scales=[Scale(16, 10)])


class Command:
    """What a hostile pickle holds: reading it runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


Known = dict[str, Any]
Tensors = dict[str, torch.Tensor]
NAN = float("nan")
EMPTY = hashlib.sha256(b"").hexdigest()


def rewritten(folder: Path, change: Callable[[Known, Tensors], object]) -> None:
    """Let `change` have its way with what a checkpoint says."""
    path = folder / STATE
    with safe_open(path, framework="pt") as file:
        known = json.loads(file.metadata()["nst"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(known, tensors)
    save_file(tensors, path, {"nst": json.dumps(known), "sha256": fingerprint(known, tensors)})


def changed(folder: Path) -> None:
    """Let one bit of a tensor turn over, where nothing else tells of it."""
    content = bytearray((folder / STATE).read_bytes())
    content[-1] ^= 1
    (folder / STATE).write_bytes(content)


def instead(path: Path, kind: str) -> None:
    """Put a link to the file itself, to what has no end, or a FIFO where a file was."""
    moved = path.rename(path.with_name("moved"))
    if kind == "FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to(moved if kind == "link" else "/dev/zero")


def cut(folder: Path, share: float) -> None:
    content = (folder / STATE).read_bytes()
    (folder / STATE).write_bytes(content[: int(share * len(content))])


# What is done to the files of a batch that was kept, and what the warning says of it.
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda folder: (folder / STATE).write_bytes(b""), "header"),
    "zeros": (lambda folder: (folder / STATE).write_bytes(bytes(100)), "header"),
    "half": (lambda folder: cut(folder, 0.5), "."),
    "a byte short": (lambda folder: cut(folder, 0.99999), "."),
    "endless header": (lambda folder: (folder / STATE).write_bytes(b"\xff" * 16), "header"),
    "pickle": (lambda folder: torch.save(Command(folder / "marker"), folder / STATE), "."),
    "no metadata": (lambda folder: save_file({"canvas": torch.ones(1)}, folder / STATE), "."),
    "no JSON": (lambda folder: save_file({}, folder / STATE, {"nst": "{"}), "."),
    "deep JSON": (lambda folder: save_file({}, folder / STATE, {"nst": "[" * 99999}), "recursion"),
    "JSON of another kind": (lambda folder: save_file({}, folder / STATE, {"nst": "3"}), "."),
    "a bit": (changed, "hash"),
    "link": (lambda folder: instead(folder / STATE, "link"), "not followed"),
    "endless": (lambda folder: instead(folder / STATE, "/dev/zero"), "not followed"),
    "FIFO": (lambda folder: instead(folder / STATE, "FIFO"), "not a regular file"),
    "segment gone": (
        lambda folder: (folder / "1-0.mp4").unlink(),
        r"1-0\.mp4: this segment of the video is gone",
    ),
    "segment longer": (
        lambda folder: (folder / "1-0.mp4").write_bytes(b"1"),
        r"1-0\.mp4: this segment of the video is damaged",
    ),
    "segment a link": (lambda folder: instead(folder / "1-0.mp4", "link"), r"1-0\.mp4: a link"),
    "segment a FIFO": (lambda folder: instead(folder / "1-0.mp4", "FIFO"), r"1-0\.mp4: not a regular file"),
    "cells a FIFO": (lambda folder: instead(folder / CELLS, "FIFO"), "cells.json"),
    "no cells": (lambda folder: (folder / CELLS).unlink(), "cells.json"),
    "cells of another": (lambda folder: (folder / CELLS).write_text('{"identities": ["c"]}'), "cells.json"),
    "cells broken": (lambda folder: (folder / CELLS).write_bytes(b'{"identities": \xff'), "cells.json"),
}
# And to what is in them.
CONTENT: dict[str, tuple[Callable[[Known, Tensors], object], str]] = {
    "all done": (lambda known, tensors: known.update(done=10), "done"),
    "done is negative": (lambda known, tensors: known.update(done=-1), "done"),
    "done is a lie": (lambda known, tensors: known.update(done=8), "losses"),
    "done is text": (lambda known, tensors: known.update(done="7"), "done"),
    "done is missing": (lambda known, tensors: known.pop("done"), "done"),
    "seconds": (lambda known, tensors: known.update(seconds=NAN), "seconds"),
    "segments of one": (lambda known, tensors: known.update(segments=[[EMPTY]]), "segments"),
    "segments that are not there": (
        lambda known, tensors: known.update(segments=[[EMPTY] * 9, [EMPTY]]),
        "0-1.mp4",
    ),
    "no segments": (lambda known, tensors: known.update(segments=[[], [EMPTY]]), "segments"),
    "segments null": (lambda known, tensors: known.update(segments=None), "NoneType"),
    "frames to come": (lambda known, tensors: known.update(frames=[[0, 9], [0, 5]]), "frames"),
    "frames twice": (lambda known, tensors: known.update(frames=[[0, 0], [0, 5]]), "frames"),
    "a tensor short": (lambda known, tensors: tensors.pop("canvas"), "tensors"),
    "a tensor more": (lambda known, tensors: tensors.update(more=torch.ones(1)), "tensors"),
    "no losses": (lambda known, tensors: tensors.pop("losses"), "losses"),
    "shape": (lambda known, tensors: tensors.update(canvas=torch.ones(2, 3, 8, 8)), "canvas"),
    "type": (lambda known, tensors: tensors.update(canvas=tensors["canvas"].double()), "canvas"),
    "columns": (lambda known, tensors: tensors.update(losses=torch.ones(7, 2, 1)), "losses"),
    "NaN canvas": (lambda known, tensors: tensors["canvas"][1].fill_(NAN), "NaN in canvas"),
    "NaN state": (lambda known, tensors: tensors["state.shift"][0].fill_(NAN), "NaN in state.shift"),
    "infinite loss": (lambda known, tensors: tensors["losses"][3].fill_(math.inf), "NaN in losses"),
    "a diverged row too many": (lambda known, tensors: tensors.update({"last.2": torch.ones(3)}), "last.2"),
    "a diverged row of text": (lambda known, tensors: tensors.update({"last.x": torch.ones(3)}), "x"),
}


@pytest.fixture(scope="module")
def kept_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs with a batch of ten iterations that was kept after seven."""
    outputs = tmp_path_factory.mktemp("kept")
    directory, begun = CheckpointDirectory(outputs, ["a", "b"]), small_painter.__wrapped__().engine
    with pytest.raises(KeyboardInterrupt), directory.held():  # noqa: PT012
        directory.clear()
        losses = painted_to(6, begun, 10, 6)
        for row in range(2):
            (directory.folder / f"{row}-0.mp4").touch()
        directory.save(kept_at(begun, [[EMPTY], [EMPTY]], [[0, 6]] * 2, losses))
        raise KeyboardInterrupt
    return outputs


@pytest.fixture
def kept(kept_once: Path, tmp_path: Path) -> CheckpointDirectory:
    """That batch, for one test."""
    shutil.copytree(kept_once, tmp_path, dirs_exist_ok=True)
    return CheckpointDirectory(tmp_path, ["a", "b"])


@pytest.mark.parametrize("damage", [*FILES, *CONTENT])
def test_a_checkpoint_that_will_not_do_is_left_with_one_warning(
    damage: str, kept: CheckpointDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    assert kept.load(small_painter()) is not None
    change, says = {**FILES, **CONTENT}[damage]
    if damage in FILES:
        change(kept.folder)
    else:
        rewritten(kept.folder, change)
    assert not caplog.messages
    assert kept.load(small_painter()) is None
    [said] = caplog.messages
    assert said.startswith(f"{kept.folder / STATE}: not a checkpoint of this batch (")
    assert said.endswith("); painting it from the start")
    assert re.search(says, said, re.IGNORECASE)
    assert said.isprintable()
    assert not (kept.folder / "marker").exists()
    kept.clear()
    assert [path.name for path in kept.folder.iterdir()] == [CELLS]


def test_a_checkpoint_of_another_engine_is_left(kept: CheckpointDirectory) -> None:
    assert kept.load(small_painter("adam")) is None


def test_a_diverged_row_may_hold_nan(kept: CheckpointDirectory) -> None:
    def diverge(known: Known, tensors: Tensors) -> None:
        for tensor in tensors.values():
            if tensor.is_floating_point():
                (tensor[:, 1] if tensor.shape[0] == 7 else tensor[1]).fill_(NAN)
        tensors["last.1"] = torch.ones(3, 16, 16)

    rewritten(kept.folder, diverge)
    saved = kept.load(small_painter())
    assert saved is not None
    assert [*saved.diverged] == [1]


@pytest.mark.parametrize("cells", ["3", "[]", '{"identities": 3}', '{"identities": [{}]}', "{", ""])
def test_batches_of_which_nothing_is_known_are_none(
    cells: str, kept: CheckpointDirectory, tmp_path: Path
) -> None:
    assert checkpointed_batches(tmp_path) == [["a", "b"]]
    (kept.folder / CELLS).write_text(cells)
    assert checkpointed_batches(tmp_path) == []
    (kept.folder / CELLS).write_text('{"identities": ["a", "a"]}')
    assert checkpointed_batches(tmp_path) == []


@pytest.mark.e2e
def test_a_batch_with_a_broken_checkpoint_is_painted_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [pure] = paint_here(tmp_path / "pure", ["seed=1"])
    identity = record(pure.folder)["identity"]
    directory = CheckpointDirectory(Path("outputs"), [identity])
    directory.folder.mkdir(parents=True)
    torch.save(Command(tmp_path / "marker"), directory.folder / STATE)
    [anew] = paint_here(tmp_path / "anew", ["seed=1"])
    assert anew.error is None
    assert "not a checkpoint of this batch" in (anew.folder / "nst.log").read_text()
    assert (pixels(anew.folder) == pixels(pure.folder)).all()
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "outputs").exists()


def test_two_at_the_same_batch_have_a_folder_each(tmp_path: Path) -> None:
    first, second = CheckpointDirectory(tmp_path, ["a"]), CheckpointDirectory(tmp_path, ["a"])
    with first.held(), second.held():
        assert first.folder != second.folder
        assert first.folder.is_dir()
        assert second.folder.is_dir()
    assert not tmp_path.exists() or not list(tmp_path.iterdir())


@pytest.mark.e2e
@pytest.mark.parametrize("optimizer", ["lbfgs"])
def test_a_killed_sweep_goes_on_in_the_middle_to_the_same_pixels(optimizer: str, tmp_path: Path) -> None:
    arguments = [*GRID, f"optimizer={optimizer}"]
    known = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    known |= {"OMP_NUM_THREADS": "1"}
    for attempt in range(2):
        process = start(
            [str(ROOT / "run.py"), *arguments, f"hydra.sweep.dir=outputs/{attempt}"],
            *(tmp_path, known, Path(os.devnull), Path(os.devnull)),
        )
        kept = tmp_path / "outputs/.batches"
        before = {path: path.stat().st_mtime_ns for path in kept.glob("*/state.safetensors")}
        while process.exitcode is None:
            states = list(kept.glob("*/state.safetensors"))
            if states and {path: path.stat().st_mtime_ns for path in states} != before:
                break
            time.sleep(0.01)
        if process.exitcode is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
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
        videos = [imageio.imread(run / "canvas.mp4", plugin="FFMPEG") for run in (mine, theirs)]
        assert videos[0].shape == videos[1].shape
        # Each segment begins with a frame of its own making: what H.264 loses differs a little.
        assert np.abs(videos[0].astype(int) - videos[1]).mean() < 8
