"""The files of one run, written from made-up losses and canvases; the video is a list."""

import json
import math
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nst.core.color import StyleColors
from nst.errors import NstError
from nst.io.signals import Interrupted
from nst.runs.painting import Painting
from nst.runs.record import RunRecord, Status, find_damage
from nst.runs.writer import Diverged, RunWriter, record_failure

COLUMNS = ("total", "content", "style", "tv", "content/conv1_1")
NAME = RunRecord(name="seed=1", lr=0.1, fps=30)
KEYS = {"name", "lr", "fps", "status", "started", "ended", "error", "device", "git", "scores"}


class Video:
    """What the writer asks of a segmented video."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.discarded = False
        self.segments: list[str] = []

    def append(self, frame: Any) -> None:
        self.frames.append(frame)

    def finish(self, path: Path, frames: int) -> None:
        assert len(self.frames) == frames
        np.save(path.with_suffix(".npy"), np.stack(self.frames))
        path.with_suffix(".npy").rename(path)

    def discard(self) -> None:
        self.discarded = True


def started(folder: Path, record: RunRecord = NAME, iterations: int = 0) -> tuple[RunWriter, Video]:
    """A writer of a run that is about to be painted."""
    writer, video = RunWriter(folder, record), Video()
    image = torch.rand(3, 4, 4)
    writer.begin()
    cell: Any = SimpleNamespace(content=image, styles=(image,), color=StyleColors(), columns=lambda: COLUMNS)
    writer.start(cell, ("style", *COLUMNS[1:], "total"), video, None, iterations)  # type: ignore[arg-type]
    return writer, video


def losses(*totals: float) -> torch.Tensor:
    """`[n, K]`: the batch has its columns in another order than the cell, and more of them."""
    return torch.tensor([[0.5, 2.0, 0.5, 0.1, 2.0, total] for total in totals])


def add(writer: RunWriter, iteration: int, *totals: float, canvas: float = 0.5) -> None:
    writer.add(iteration, torch.full((3, 4, 4), canvas), losses(*totals))


def written(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def test_a_run_is_running_until_all_else_is_there(tmp_path: Path) -> None:
    writer, _ = started(tmp_path / "0")
    assert written(tmp_path / "0").keys() == KEYS
    assert RunRecord.read(tmp_path / "0").status is Status.RUNNING
    add(writer, 1, 8.0, 7.0)
    writer.close_files()
    (tmp_path / "0/losses.png").write_text("curves")
    assert RunRecord.read(tmp_path / "0").status is Status.RUNNING
    assert writer.finish(device="cpu", timings={"gflops": 2.0}, scores={}) == 7.0
    record = RunRecord.load(tmp_path / "0")
    assert record == writer.record
    assert record.finished
    assert record.final == pytest.approx({"total": 7.0, "content": 2.0, "style": 0.5, "tv": 0.1})
    assert record.frames == [1]
    assert record.started <= str(record.ended)
    assert written(tmp_path / "0").keys() == KEYS | {"frames", "final", "files", "timings"}
    assert find_damage(tmp_path / "0", record) is None


def test_losses_are_a_table_of_the_cells_own_columns(tmp_path: Path) -> None:
    writer, video = started(tmp_path)
    add(writer, 0, 9.0)
    add(writer, 2, 8.0, 7.25)
    writer.close_files()
    writer.finish()
    lines = (tmp_path / "losses.csv").read_text().splitlines()
    assert lines[0] == "iteration,total,content,style,tv,content/conv1_1"
    assert [line.split(",")[:2] for line in lines[1:]] == [["0", "9"], ["1", "8"], ["2", "7.25"]]
    assert len(video.frames) == 2
    assert video.discarded


@pytest.mark.parametrize("end", ["finished", "failed", "begun again"])
def test_what_there_is_so_far_is_there_while_it_is_painted(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, _ = started(tmp_path, iterations=40)
    add(writer, 0, 9.0)
    assert Painting.of(tmp_path, writer.record) is None  # not each moment
    monkeypatch.setattr("nst.runs.writer.SECONDS_TO_SHOW", 0)
    add(writer, 2, 8.0, 7.5, canvas=0.0)
    now = Painting.of(tmp_path, writer.record)
    assert now is not None
    assert (now.text, now.share, now.losses["total"]) == ("iteration 3 of 40", 3 / 40, 7.5)
    table = (tmp_path / now.table).read_text().splitlines()
    assert [line.split(",")[:2] for line in table[1:]] == [["0", "9"], ["1", "8"], ["2", "7.5"]]
    with Image.open(tmp_path / Painting.PICTURE) as picture:
        assert picture.getextrema() == ((0, 0),) * 3
    assert {path.name for path in tmp_path.glob("[!.]*")} == {"run.json", "content.png", "style.png"}
    if end == "finished":
        writer.close_files()
        writer.finish()
    elif end == "failed":
        writer.fail(NstError("no more"))
    else:
        started(tmp_path)
    assert Painting.of(tmp_path, RunRecord.read(tmp_path)) is None
    assert not [path for path in tmp_path.glob(".*") if "painting" in path.name]


@pytest.mark.parametrize("what", ["loss", "canvas"])
def test_a_run_that_diverges_keeps_its_last_finite_canvas(what: str, tmp_path: Path) -> None:
    writer, _ = started(tmp_path)
    add(writer, 0, 9.0, canvas=0.25)
    with record_failure(writer):
        add(writer, 2, 8.0, math.nan if what == "loss" else 7.0, canvas=math.inf if what == "canvas" else 0.5)
    record = RunRecord.load(tmp_path)
    assert (record.status, record.diverged_at, record.frames) == (Status.DIVERGED, 2, [0])
    assert record.error == str(Diverged(2, 0.1)) == writer.error
    assert "optimizer.lr=0.1: the loss is not a finite number from iteration 2 on" in str(record.error)
    assert (tmp_path / "canvas.png").is_file()
    assert not record.final
    assert math.isnan(record.total)


@pytest.mark.parametrize(
    ("error", "status", "traced"),
    [
        (NstError("no such layer"), Status.FAILED, False),
        (OSError(28, "No space left on device"), Status.FAILED, False),
        (ZeroDivisionError("a bug"), Status.FAILED, True),
        (Interrupted(signal.SIGTERM), Status.INTERRUPTED, False),
        (KeyboardInterrupt("^C"), Status.INTERRUPTED, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_ended_a_run_is_in_its_record(
    error: BaseException, status: Status, traced: bool, tmp_path: Path
) -> None:
    writer, _ = started(tmp_path)
    add(writer, 0, 9.0)
    writer.fail(error)
    record = RunRecord.load(tmp_path)
    assert record.status is writer.status is status
    assert record.error
    assert record.error == writer.error
    assert "\n" not in record.error
    assert bool(record.traceback) is traced
    assert record.ended
    assert (tmp_path / "canvas.png").is_file()


def test_only_what_a_run_has_written_is_cleared_for_another_attempt(tmp_path: Path) -> None:
    (tmp_path / "canvas.png").write_text("not ours: no record says so")
    RunWriter(tmp_path, NAME).begin()
    assert (tmp_path / "canvas.png").exists()
    (tmp_path / ".canvas-0123abcd.png").write_text("a part")
    (tmp_path / "notes.txt").write_text("mine")
    RunWriter(tmp_path, NAME).begin()
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "notes.txt"}
    assert RunRecord.read(tmp_path).status is Status.RUNNING


def test_a_second_attempt_says_nothing_of_the_first(tmp_path: Path) -> None:
    writer, _ = started(tmp_path)
    writer.fail(ZeroDivisionError("a bug"))
    RunWriter(tmp_path, NAME).begin()
    assert written(tmp_path).keys() == KEYS
    assert written(tmp_path)["error"] is None
