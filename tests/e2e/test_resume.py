"""What was painted once is not painted again: after a kill, in another folder, from a single run."""

import json
import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image
from support.command import Ended, command
from support.forked import start
from support.results import children, record

from nst.config.paths import ROOT

SMALL = [
    *("model=vgg16", "model.weights=random", "size=24", "hardware.device=cpu"),
    *("optimizer=adam,lbfgs", "content_layers=conv1_1,conv2_1", "style_layers=conv2_1"),
]
QUICK = ["model=vgg16", "model.weights=random", "size=24", "iterations=3", "hardware.device=cpu"]
QUICK += ["style_layers=conv1_1"]
CELLS, KILLS = 4, 6


def grid(folder: Path, place: str, *arguments: str) -> Ended:
    return command(
        folder, "-m", *QUICK, "optimizer=adam,lbfgs", f"hydra.sweep.dir=outputs/{place}", *arguments
    )


def pixels(run: Path) -> Any:
    return np.asarray(Image.open(run / "canvas.png"))


def painted(sweep: Path) -> dict[str, str]:
    """When each finished cell of a sweep was begun to be painted."""
    found = {}
    for path in sweep.glob("*/run.json"):
        run = json.loads(path.read_text())
        if run["status"] == "finished":
            found[path.parent.name] = run["started"]
    return found


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a sweep called first, to be copied."""
    folder = tmp_path_factory.mktemp("first")
    assert grid(folder, "first", "tracking=none").code == 0
    return folder / "outputs"


def test_a_sweep_run_again_paints_nothing(first: Path, tmp_path: Path) -> None:
    shutil.copytree(first, tmp_path / "outputs")
    ended = grid(tmp_path, "second", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
    assert (ended.code, ended.errors) == (0, [])
    assert "2 of 2 cells were painted before" in ended.err
    assert "nothing is left to paint" in ended.err
    first, second = (tmp_path / "outputs" / name for name in ("first", "second"))
    for cell in ("0", "1"):
        old, new = record(first / cell), record(second / cell)
        assert new == {**old, "taken_from": str(first / cell)}
        assert (second / cell / "canvas.mp4").samefile(first / cell / "canvas.mp4")
    assert (second / "sheet.png").is_file()
    _, runs = children(tmp_path / "mlflow.db")
    assert [run.data.tags["nst.taken_from"] for run in runs] == [str(first / cell) for cell in ("0", "1")]
    # Where they came from may go: the second sweep is whole.
    shutil.rmtree(first)
    again = grid(tmp_path, "third", "tracking=none")
    assert "2 of 2 cells were painted before" in again.err
    assert record(tmp_path / "outputs/third/0")["taken_from"] == str(first / "0")


def test_resume_false_paints_again(first: Path, tmp_path: Path) -> None:
    shutil.copytree(first, tmp_path / "outputs")
    assert grid(tmp_path, "second", "tracking=none", "resume=false").code == 0
    for cell in ("0", "1"):
        old, new = (record(tmp_path / "outputs" / name / cell) for name in ("first", "second"))
        assert "taken_from" not in new
        assert new["started"] > old["started"]
        assert new["identity"] == old["identity"]


def test_only_what_is_missing_or_failed_is_painted_in_the_same_folder(tmp_path: Path) -> None:
    picture = tmp_path / "late.png"
    missing = ["tracking=none", f"images.content={ROOT / 'data/cat.png'},{picture}"]
    assert grid(tmp_path, "sweep", *missing).code == 1
    sweep = tmp_path / "outputs/sweep"
    before = painted(sweep)
    assert set(before) == {"0", "2"}
    shutil.copy(ROOT / "data/mosaic.png", picture)
    (sweep / "2/canvas.mp4").unlink()
    ended = grid(tmp_path, "sweep", *missing)
    assert (ended.code, ended.errors) == (0, []), ended.err
    after = painted(sweep)
    assert set(after) == {"0", "1", "2", "3"}
    assert after["0"] == before["0"]
    assert after["2"] > before["2"]  # it had lost a file


def test_another_value_is_another_cell(first: Path, tmp_path: Path) -> None:
    shutil.copytree(first, tmp_path / "outputs")
    ended = grid(tmp_path, "second", "tracking=none", "weights.tv=0.5")
    assert "painted before" not in ended.err
    # What does not decide the pixels does not make another cell of it.
    ended = grid(tmp_path, "third", "tracking=none", "hardware.max_batch=1")
    assert "2 of 2 cells were painted before" in ended.err


def test_a_single_run_takes_what_a_sweep_painted(first: Path, tmp_path: Path) -> None:
    shutil.copytree(first, tmp_path / "outputs")
    ended = command(tmp_path, *QUICK, "optimizer=lbfgs", "tracking=none", "hydra.run.dir=run")
    assert ended.code == 0
    assert "resume=false paints it again" in ended.err
    assert record(tmp_path / "run")["taken_from"] == str(tmp_path / "outputs/first/1")


def test_a_plan_says_what_is_done_and_starts_nothing(first: Path, tmp_path: Path) -> None:
    shutil.copytree(first, tmp_path / "outputs")
    before = sorted(tmp_path.rglob("*"))
    ended = grid(tmp_path, "second", "plan=true", "seed=0,1", "hardware.max_batch=1")
    assert (ended.code, ended.errors) == (0, [])
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert lines[0] == "0 optimizer=adam seed=0 painted before, in outputs/first/0"
    assert lines[1:4] == [
        "1 optimizer=adam seed=1 batch 1",
        "2 optimizer=lbfgs seed=0 painted before, in outputs/first/1",
        "3 optimizer=lbfgs seed=1 batch 2",
    ]
    assert lines[4].startswith("batch 1: 1 cell, vgg16, adam, 24 px, 3 iterations, fp32, about 0.0 GiB")
    assert lines[6] == "4 cells: 2 painted before, 2 to paint in 2 batches, 6 iterations of a cell"
    assert lines[7].startswith("about ")
    assert lines[7].endswith(" of painting, by the speed of 2 earlier runs")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_sweep_that_is_killed_again_and_again_is_finished_once(tmp_path: Path) -> None:
    chance = random.Random(4)
    store = f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    arguments = ["-m", *SMALL, "iterations=40", "hardware.max_batch=1", "save_every=5", store]
    known = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    known |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    began: dict[str, str] = {}
    for kill in range(KILLS):
        # Half of them in one folder, half in a new one each.
        place = tmp_path / "outputs" / ("one" if kill < KILLS / 2 else f"other-{kill}")
        process = start(
            [str(ROOT / "run.py"), *arguments, f"hydra.sweep.dir={place}"],
            *(tmp_path, known, Path(os.devnull), Path(os.devnull)),
        )
        # Somewhere in its start, its painting, its logging or its end.
        fewest = len(painted(place)) + chance.randrange(3)
        while process.exitcode is None and not (
            list(place.glob("*/run.json")) and len(painted(place)) >= fewest
        ):
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 1))
        with suppress(ProcessLookupError):  # it may be at its end
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        now = painted(place)
        assert {cell: now.get(cell) for cell in began if place.name == "one"} == {
            cell: began[cell] for cell in began if place.name == "one"
        }
        for cell, moment in now.items():
            assert began.setdefault(cell, moment) == moment
    last = tmp_path / "outputs/last"
    ended = command(tmp_path, *arguments, f"hydra.sweep.dir={last}")
    assert (ended.code, ended.errors) == (0, []), ended.err
    after = painted(last)
    assert len(after) == CELLS
    assert {cell: after[cell] for cell in began} == began
    assert len(began) > 0

    parent = next(
        run
        for run in MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"])
        if run.data.tags["nst.run_dir"] == str(last)
    )
    runs = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(
        ["1"], f"tags.mlflow.parentRunId = '{parent.info.run_id}'"
    )
    assert parent.info.status == "FINISHED"
    assert [run.info.status for run in runs] == ["FINISHED"] * CELLS
    assert (last / "index.html").is_file()

    undisturbed = command(
        tmp_path, *arguments, "tracking=none", "resume=false", f"hydra.sweep.dir={tmp_path}/undisturbed"
    )
    assert undisturbed.code == 0
    for cell in range(CELLS):
        pure = tmp_path / "undisturbed" / str(cell)
        assert (pixels(last / str(cell)) == pixels(pure)).all()
        assert record(last / str(cell))["final"] == pytest.approx(record(pure)["final"], rel=1e-6)
