"""The command that people type: real processes where the process matters, else the same code here."""

import csv
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from composing import config
from forked import python
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image
from safetensors.torch import save_file

from nst.cli import run_app
from nst.config.schema import ROOT
from nst.core.init_images import noise
from nst.errors import NstError
from nst.execution.batch import run_batch
from nst.io.images import to_uint8
from nst.runs.job import Job, Result

# Weights that need no cache and no network; canvases mean nothing with them, which is enough here.
SMALL = ["model=vgg16", "model.weights=random", "size=32", "iterations=4", "hardware.device=cpu"]
RUN_FILES = {
    *("canvas.png", "canvas.mp4", "losses.csv", "losses.png", "run.json", "content.png", "style.png"),
    ".hydra",
}


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def command(folder: Path, *arguments: str, gibibytes: int | None = None, **environment: str) -> Ended:
    """Run run.py in `folder`.

    In a process from nothing where its address space is limited, or a launcher starts processes in turn.
    """
    known = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    known |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200", **environment}
    if gibibytes is None and not any("launcher" in argument for argument in arguments):
        return Ended(*python([str(ROOT / "run.py"), *arguments], folder, known, seconds=300))
    limit = resource.RLIM_INFINITY if gibibytes is None else gibibytes << 30
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        cwd=folder,
        env=known,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    return found


def pixels(run: Path) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    return np.asarray(Image.open(run / "canvas.png"))


def here(folder: Path, *cells: Sequence[str]) -> list[Result]:
    """Paint cells as one batch in this process, into numbered folders."""
    return run_batch(
        [
            Job(config(*SMALL, "tracking=none", *overrides), folder / str(number), tuple(overrides))
            for number, overrides in enumerate(cells)
        ]
    )


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
    assert frames.shape == (4, 32, 32, 3)
    for name in ("canvas", "content", "style"):
        with Image.open(run / f"{name}.png") as image:
            assert (image.mode, image.size) == ("RGB", (32, 32))
    # The last frame is the canvas, but for what H.264 loses: half the colours, little of the brightness.
    last, canvas = (
        np.asarray(Image.fromarray(image).convert("L"), int) for image in (frames[-1], pixels(run))
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
        (["content_layers=conv9_9"], "error: content_layers=conv9_9: no such option; allowed are conv1_1"),
        (["sizes=3"], "error: sizes=3: no such key; allowed are model"),
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
    assert "_check_size" in ended.err
    assert ended.err.splitlines()[-1].startswith("nst.errors.NstError: size=0:")


def _raise(error: BaseException) -> Callable[[], object]:
    def main() -> object:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (NstError("size=0: too small"), 2, "error: size=0: too small"),
        (OSError(28, "No space left on device"), 2, "error: [Errno 28] No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            RuntimeError("two\nlines"),
            1,
            "error: RuntimeError: two; lines (not foreseen; HYDRA_FULL_ERROR=1 shows where)",
        ),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert run_app(_raise(error)) == code
    assert capsys.readouterr().err == line + "\n"


def test_nothing_wrong_is_0(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    assert run_app(lambda: 3.5) == 0
    assert capsys.readouterr().err == ""


def _text(path: Path) -> None:
    path.write_text("no picture at all")


def _half(path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such file"),
        (Path.touch, "empty file"),
        (Path.mkdir, "a directory"),
        (_text, "not an image"),
        (_half, "cannot be read"),
    ],
    ids=["missing", "empty", "directory", "text", "damaged"],
)
@pytest.mark.parametrize("key", ["images.content", "images.style"])
def test_a_bad_image_is_named(make: Callable[[Path], None], says: str, key: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    make(path)
    [result] = here(tmp_path, [f"{key}={path}"])
    assert result.error is not None
    assert result.error.startswith(f"{key}={path}: ")
    assert says in result.error
    assert "\n" not in result.error
    assert record(tmp_path / "0")["status"] == "failed"
    assert record(tmp_path / "0")["error"] == result.error


def test_weights_of_another_shape_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"conv1_1.weight": torch.zeros(3, 3, 3, 3), "conv1_1.bias": torch.zeros(3)}, path)
    [result] = here(tmp_path, [f"model.weights={path}"])
    assert result.error is not None
    assert result.error.startswith(f"model.weights={path}: its conv1_1.weight is [3, 3, 3, 3]")
    assert "[64, 3, 3, 3]" in result.error
    assert record(tmp_path / "0")["status"] == "failed"


def test_a_size_larger_than_memory_is_refused_before_it_is_tried(tmp_path: Path) -> None:
    ended = command(tmp_path, *SMALL, "tracking=none", "size=100000", "hydra.run.dir=run", gibibytes=24)
    [line] = [line for line in ended.err.splitlines() if not line.startswith("warning: model.weights=random")]
    assert line.startswith("error: size=100000:")
    assert "GiB" in line
    assert ended.code == 2
    assert not (tmp_path / "run/run.json").exists()


def _exif(image: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)


SAVED: dict[str, Callable[[Image.Image, Path], None]] = {
    "alpha.png": lambda image, path: image.convert("RGBA").save(path),
    "grey.png": lambda image, path: image.convert("L").save(path),
    "palette.png": lambda image, path: image.convert("P").save(path),
    "sixteen.png": lambda image, path: Image.fromarray(
        np.asarray(image.convert("L")).astype(np.uint16) * 257
    ).save(path),
    "cmyk.jpg": lambda image, path: image.convert("CMYK").save(path),
    "exif.jpg": _exif,
}


def test_every_kind_of_image_is_painted(tmp_path: Path) -> None:
    picture = Image.open(ROOT / "data/cat.png").convert("RGB").resize((40, 60))
    for name, save in SAVED.items():
        save(picture, tmp_path / name)
    results = here(tmp_path, *([f"images.content={tmp_path / name}", "iterations=1"] for name in SAVED))
    assert [result.error for result in results] == [None] * len(SAVED)
    wanted = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.BILINEAR), dtype=int)
    for result, name in zip(results, SAVED, strict=True):
        used = Image.open(result.folder / "content.png")
        grey = np.asarray(used.convert("L"), dtype=int)
        turned = np.rot90(wanted, -1) if name == "exif.jpg" else wanted
        assert np.abs(grey - turned).mean() < 8, name


def test_a_diverging_cell_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    adam = ["optimizer=adam", "save_every=1"]
    good = [[*adam, "content_layers=conv2_1"], [*adam, "content_layers=conv4_1"]]
    results = here(tmp_path / "with", good[0], [*adam, "optimizer.lr=1e30"], good[1])
    alone = here(tmp_path / "without", *good)
    assert [result.error is None for result in results] == [True, False, True]
    assert str(results[1].error).startswith("optimizer.lr=1e+30: the loss is not a finite number")
    bad = results[1].folder
    assert (record(bad)["status"], record(bad)["error"]) == ("diverged", results[1].error)
    # Its last finite canvas is the first: after one step of 1e30 its loss is none.
    assert (record(bad)["diverged_at"], record(bad)["frames"]) == (1, [0])
    assert (pixels(bad) == to_uint8(noise(32, 0)).astype(int)).all()
    assert len((bad / "losses.csv").read_text().splitlines()) == 1 + 1
    assert len(imageio.imread(bad / "canvas.mp4", plugin="FFMPEG")) == 1
    for mixed, pure in zip((results[0], results[2]), alone, strict=True):
        difference = pixels(mixed.folder).astype(int) - pixels(pure.folder)
        assert np.abs(difference).max() <= 1
        assert mixed.loss == pytest.approx(pure.loss, rel=1e-4)


def children(store: Path) -> tuple[Run, list[Run]]:
    """The one parent of an MLflow store, and its children by name."""
    client = MlflowClient(f"sqlite:///{store}")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = list(client.search_runs(ids))
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    cells = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in cells} == {parent.info.run_id}
    return parent, sorted(cells, key=lambda run: str(run.data.tags["nst.run_dir"]))


def test_a_bad_cell_fails_alone_and_is_told(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    Image.effect_noise((32, 32), 50).save(good)
    ended = command(
        tmp_path,
        "-m",
        *SMALL,
        "tracking=mlflow",
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
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


LAUNCHERS = {
    "batched": [],
    "basic": ["hydra/launcher=basic"],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
}


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One sweep by each launcher, each with an MLflow store of its own."""
    folders = {}
    for name, arguments in LAUNCHERS.items():
        folder = folders[name] = tmp_path_factory.mktemp(name)
        store = f"tracking.uri=sqlite:///{folder}/mlflow.db"
        ended = command(
            folder, "-m", *SMALL, *arguments, store, "optimizer=adam,lbfgs", "hydra.sweep.dir=sweep"
        )
        assert (ended.code, ended.errors) == (0, []), ended.err
    return folders


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
        "children": [(run.info.status, run.data.params, set(run.data.metrics)) for run in cells],
    }


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_launchers_give_the_same(launcher: str, launched: dict[str, Path]) -> None:
    batched, other = launched["batched"], launched[launcher]
    assert _facts(other) == _facts(batched)
    for cell in ("0", "1"):
        difference = pixels(other / "sweep" / cell).astype(int) - pixels(batched / "sweep" / cell)
        assert np.abs(difference).max() <= 1
        ours, theirs = record(batched / "sweep" / cell), record(other / "sweep" / cell)
        assert ours["final"] == pytest.approx(theirs["final"], rel=1e-3)


@pytest.mark.parametrize(("preset", "cells"), [("content_init", 15), ("visualize_both", 1)])
def test_presets_run(preset: str, cells: int, tmp_path: Path) -> None:
    small = ["size=16", "iterations=3", "save_every=2", "model=vgg16", "model.weights=random"]
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
    assert command(tmp_path, "-m", *SMALL, *few).code == 0
    cells = [record(tmp_path / "sweep" / number)["timings"]["batch_cells"] for number in "012"]
    assert cells == [2, 2, 1]
