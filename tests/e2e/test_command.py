"""The command that people type: real processes where the process matters, else the same code here."""

import csv
import json
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from PIL import Image
from support.command import SMALL, command
from support.results import children, pixels, record

RUN_FILES = {
    *(
        "canvas.png",
        "canvas.mp4",
        "losses.csv",
        "losses.png",
        "run.json",
        "content.png",
        "style.png",
        "index.html",
    ),
    ".hydra",
}


def test_a_run_leaves_the_contract(tmp_path: Path) -> None:
    ended = command(tmp_path, *SMALL, "save_every=3", "iterations=8", "tracking=none", "hydra.run.dir=run")
    assert (ended.code, ended.errors) == (0, [])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    run = tmp_path / "run"
    names = {path.name for path in run.iterdir()}
    assert names - {"nst.log", ".nst.lock"} == RUN_FILES
    assert {path.name for path in (run / ".hydra").iterdir()} == {
        "config.yaml",
        "hydra.yaml",
        "overrides.yaml",
    }
    with (run / "losses.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    layers = ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"]
    assert header == [
        *("iteration", "total", "content", "style", "tv", "content/conv1_1"),
        *(f"style/{layer}" for layer in layers),
    ]
    assert [row[0] for row in rows] == [str(number) for number in range(8)]
    assert np.isfinite(np.array(rows, float)).all()
    found = record(run)
    assert (found["status"], found["error"]) == ("finished", None)
    assert found["frames"] == [0, 3, 6, 7]
    assert found["final"] == {
        key: pytest.approx(float(value), rel=1e-6)
        for key, value in zip(header[1:5], rows[-1][1:5], strict=True)
    }
    assert found["model"]["name"] == found["model"]["asked"] == "vgg16"
    assert found["precision"] == "fp32"
    assert {"setup_seconds", "painting_seconds", "writing_seconds", "iterations_per_second"} <= set(
        found["timings"]
    )
    frames = imageio.imread(run / "canvas.mp4", plugin="FFMPEG")
    assert frames.shape == (4, 22, 32, 3)  # sides are even
    for name, height in {"canvas": 21, "content": 21, "style": 25}.items():
        with Image.open(run / f"{name}.png") as image:
            assert (image.mode, image.size) == ("RGB", (32, height))
    # The last frame is the canvas, but for what H.264 loses: half the colours, little of the brightness.
    last, canvas = (
        np.asarray(Image.fromarray(image).convert("L"), int) for image in (frames[-1][:21], pixels(run))
    )
    assert np.abs(last - canvas).mean() < 8


def test_config_shows_and_starts_nothing(tmp_path: Path) -> None:
    ended = command(tmp_path, "--cfg", "job", "optimizer=adam")
    assert ended.code == 0
    assert "lr: 0.06" in ended.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "begin"),
    [
        (
            ["content_layers=conv9_9"],
            "error: content_layers=conv9_9: vgg16 has no such layer; allowed are conv1_1",
        ),
        (["sizes=3"], "error: sizes=3: no such key; did you mean size? allowed are model"),
        (["size=7"], "error: size=7: the features of conv5_1 need at least 16 pixels"),
        (["optimizer=[adam,lbfgs]"], "error: optimizer=[...]: takes one option"),
        (["images.content=none.png"], "error: images.content=none.png: no such file"),
    ],
)
def test_one_line_and_2_for_what_can_be_mended(tmp_path: Path, arguments: list[str], begin: str) -> None:
    given = [*SMALL, "tracking=none", "hydra.run.dir=run", *arguments]
    ended = command(tmp_path, *given)
    assert ended.code == 2
    [line] = ended.err.splitlines()
    assert line.startswith(begin)
    if (tmp_path / "run/run.json").exists():
        assert record(tmp_path / "run")["status"] == "failed"


def test_hydra_full_error_shows_the_trace(tmp_path: Path) -> None:
    ended = command(tmp_path, *SMALL, "tracking=none", "size=0", HYDRA_FULL_ERROR="1")
    assert ended.code == 1
    assert "Traceback" in ended.err
    assert "check_size" in ended.err
    assert ended.err.splitlines()[-1].startswith("nst.errors.NstError: size=0:")


def test_a_size_larger_than_memory_is_refused_before_it_is_tried(tmp_path: Path) -> None:
    ended = command(tmp_path, *SMALL, "tracking=none", "size=100000", "hydra.run.dir=run", gibibytes=24)
    [line] = [line for line in ended.err.splitlines() if not line.startswith("warning: model.weights=random")]
    assert line.startswith("error: size=100000:")
    assert "GiB" in line
    assert ended.code == 2
    assert not (tmp_path / "run/run.json").exists()


def test_a_bad_cell_fails_alone_and_is_told(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    Image.effect_noise((32, 32), 50).save(good)
    ended = command(
        tmp_path,
        "-m",
        *SMALL,
        "tracking=mlflow",
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
        "style_layers=conv1_1",
        f"images.content={good},missing.png,{good}",
        "hydra.sweep.dir=sweep",
    )
    assert ended.code == 1
    assert "Traceback" not in ended.err
    sweep = tmp_path / "sweep"
    assert [record(sweep / str(cell))["status"] for cell in range(3)] == ["finished", "failed", "finished"]
    reason = record(sweep / "1")["error"]
    assert reason.startswith("images.content=missing.png: no such file")
    assert "failed: images.content=missing.png: no such file" in " ".join(ended.err.split())
    assert "2 of 3 cells finished" in ended.err
    assert {"sheet.png", "sheet.mp4", "sweep.json", "multirun.yaml"} <= {
        path.name for path in sweep.iterdir()
    }
    parent, cells = children(tmp_path / "mlflow.db")
    assert parent.info.status == "FAILED"
    assert [run.info.status for run in cells] == ["FINISHED", "FAILED", "FINISHED"]
    assert cells[1].data.tags["nst.error"] == reason


def test_a_config_that_cannot_be_painted_stops_the_sweep_before_its_first_cell(tmp_path: Path) -> None:
    arguments = ["model=vgg16", "tracking=none", "iterations=4", "hydra.sweep.dir=sweep"]
    ended = command(tmp_path, "-m", *arguments, "size=32,0")
    assert ended.code == 2
    [line] = ended.err.splitlines()
    assert line.startswith("error: size=0:")
    assert list(tmp_path.rglob("run.json")) == []


OTHERS = {"basic": [], "joblib": ["hydra.launcher.n_jobs=2"]}


def launched(folder: Path, *arguments: str) -> Path:
    """A sweep of two cells by a launcher, with an MLflow store of its own."""
    folder.mkdir()
    store = f"tracking.uri=sqlite:///{folder}/mlflow.db"
    grid = ["-m", *SMALL, "style_layers=conv2_1", "optimizer=adam,lbfgs", "hydra.sweep.dir=sweep"]
    ended = command(folder, *grid, *arguments, store)
    assert (ended.code, ended.errors) == (0, []), ended.err
    return folder


def _facts(folder: Path) -> Any:
    """What does not depend on the launcher."""
    sweep = folder / "sweep"
    runs = [sweep / str(cell) for cell in range(2)]
    parent, cells = children(folder / "mlflow.db")
    with Image.open(sweep / "sheet.png") as sheet:
        size = sheet.size
    return {
        "files": [{path.name for path in run.iterdir()} for run in runs],
        "sweep": {path.name for path in sweep.iterdir() if path.is_file()},
        "identity": [record(run)["identity"] for run in runs],
        "frames": [record(run)["frames"] for run in runs],
        "sheet": size,
        "parent": (parent.info.run_name, parent.info.status),
        "children": [(run.info.status, set(run.data.metrics)) for run in cells],
    }


def test_launchers_give_the_same(tmp_path: Path) -> None:
    batched = launched(tmp_path / "batched")
    for launcher, arguments in OTHERS.items():
        other = launched(tmp_path / launcher, f"hydra/launcher={launcher}", *arguments)
        assert _facts(other) == _facts(batched)
        # One cell after another is logged before it is known what varies: with all of it.
        params = [[run.data.params for run in children(one / "mlflow.db")[1]] for one in (other, batched)]
        for typed, varying in zip(*params, strict=True):
            assert varying.items() <= typed.items()
        for cell in ("sweep/0", "sweep/1"):
            assert (pixels(other / cell) == pixels(batched / cell)).all()
            ours, theirs = record(batched / cell), record(other / cell)
            assert ours["final"] == pytest.approx(theirs["final"], rel=1e-3)


@pytest.mark.parametrize(("preset", "cells"), [("visualize_content_groups", 2), ("visualize_both", 1)])
def test_presets_run(preset: str, cells: int, tmp_path: Path) -> None:
    small = ["size=24", "iterations=3", "save_every=2", "model=vgg16", "model.weights=random"]
    ended = command(
        tmp_path, "-m", f"experiment=readme/{preset}", *small, "tracking=none", "hydra.sweep.dir=sweep"
    )
    assert (ended.code, ended.errors) == (0, []), ended.err
    runs = [tmp_path / "sweep" / str(cell) for cell in range(cells)]
    assert sorted(path for path in (tmp_path / "sweep").iterdir() if path.is_dir()) == sorted(runs)
    assert [record(run)["status"] for run in runs] == ["finished"] * cells
    assert len({record(run)["identity"] for run in runs}) == cells
    resolved = json.loads((tmp_path / "sweep/sweep.json").read_text())
    assert resolved["name"] == f"readme/{preset}"
    assert resolved["command"].startswith(f"python run.py -m experiment=readme/{preset} ")
    assert resolved["ended"] is not None
    with Image.open(tmp_path / "sweep/sheet.png") as sheet:
        assert sheet.width > 16


def test_a_sweeper_that_asks_for_some_at_a_time_gets_them_batched(tmp_path: Path) -> None:
    few = ["hydra.sweeper.max_batch_size=2", "hydra.sweep.dir=sweep", "tracking=none", "seed=0,1,2"]
    few += ["style_layers=conv1_1"]
    assert command(tmp_path, "-m", *SMALL, *few).code == 0
    cells = [record(tmp_path / "sweep" / number)["timings"]["batch_cells"] for number in "012"]
    assert cells == [2, 2, 1]
