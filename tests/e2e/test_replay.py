"""A canvas painted again from its folder, or from MLflow, when all else is gone."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import Ended, command
from support.forked import python
from support.results import children, record

from nst.config.paths import ROOT

SMALL = ["model=vgg16", "model.weights=random", "size=32", "iterations=12", "hardware.device=cpu"]
SMALL += ["style_layers=conv1_1"]


def replay(folder: Path, *arguments: str) -> Ended:
    return Ended(*python(["-m", "nst.replay", *arguments], folder, {**os.environ, "OMP_NUM_THREADS": "1"}))


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep whose images are gone, and its MLflow store."""
    folder = tmp_path_factory.mktemp("painted")
    for kind, name in (("content", "cat.png"), ("style", "mosaic.png")):
        shutil.copy(ROOT / "data" / name, folder / f"my {kind}.png")
    images = [f"images.{kind}='my {kind}.png'" for kind in ("content", "style")]
    ended = command(
        folder,
        *("-m", *SMALL, *images, "optimizer=adam,lbfgs", "init_image=noise", "hydra.sweep.dir=sweep"),
        f"tracking.uri=sqlite:///{folder}/mlflow.db",
    )
    assert (ended.code, ended.errors) == (0, []), ended.err
    for path in folder.glob("my *.png"):
        path.unlink()
    return folder


@pytest.mark.parametrize("cell", ["0", "1"])
def test_a_folder_gives_the_same_pixels(painted: Path, cell: str) -> None:
    done = replay(painted, f"sweep/{cell}", "--into", f"again-{cell}")
    assert (done.code, done.out.splitlines()[-1]) == (0, "canvas  the same pixels"), done.err
    now, before = painted / f"again-{cell}", painted / "sweep" / cell
    assert (np.asarray(Image.open(now / "canvas.png")) == np.asarray(Image.open(before / "canvas.png"))).all()
    assert record(now)["identity"] == record(before)["identity"]
    assert (now / "losses.csv").read_bytes() == (before / "losses.csv").read_bytes()


def test_a_run_id_gives_the_same_pixels(painted: Path, tmp_path: Path) -> None:
    _, runs = children(painted / "mlflow.db")
    done = replay(tmp_path, runs[1].info.run_id, "--uri", f"sqlite:///{painted}/mlflow.db")
    assert (done.code, done.out.splitlines()[-1]) == (0, "canvas  the same pixels"), done.err
    [folder] = (tmp_path / "outputs/replays").iterdir()
    assert record(folder)["name"] == "replay of optimizer=lbfgs"


def test_what_cannot_be_replayed_is_one_line(painted: Path, tmp_path: Path) -> None:
    shutil.copytree(painted / "sweep/0", tmp_path / "changed")
    run = record(tmp_path / "changed")
    (tmp_path / "changed/run.json").write_text(json.dumps(run | {"identity": "0" * 64}))
    shutil.copytree(painted / "sweep/0", tmp_path / "torn")
    (tmp_path / "torn/style.png").unlink()
    (tmp_path / "empty").mkdir()
    for name, file in (("canvas", "canvas.png"), ("config", ".hydra/config.yaml")):
        shutil.copytree(painted / "sweep/0", tmp_path / name)
        (tmp_path / name / file).write_bytes((tmp_path / name / file).read_bytes()[:100])
    store = ("--uri", f"sqlite:///{painted}/mlflow.db")
    for arguments, says in (
        (["changed"], "error: changed: would not be the same canvas"),
        (["torn"], "error: torn/style.png: "),
        (["canvas"], "error: canvas/canvas.png: 100 bytes, "),
        (["config"], "error: config/.hydra/config.yaml: not the config of a run ("),
        ([f"{painted}/sweep/0", "--into", "torn"], "error: torn: is not empty"),
        ([f"{painted}/sweep/0", "--into", "torn/run.json"], "error: torn/run.json: is not empty"),
        (["empty"], "error: empty: cannot be replayed"),
        (["0" * 32, *store], f"error: {'0' * 32}: no such folder, and no such run in sqlite://"),
    ):
        done = replay(tmp_path, *arguments)
        assert done.code == 2
        [line] = [line for line in done.err.splitlines() if "model.weights=random" not in line]
        assert line.startswith(says)
    assert not (tmp_path / "outputs").exists()


def test_larger_begins_from_the_canvas_and_can_be_replayed(tmp_path: Path) -> None:
    for kind, name in (("content", "cat.png"), ("style", "mosaic.png")):
        shutil.copy(ROOT / "data" / name, tmp_path / f"{kind}.png")
    images = [f"images.{kind}={kind}.png" for kind in ("content", "style")]
    ended = command(
        tmp_path,
        *SMALL,
        *images,
        "optimizer=adam",
        "tracking=none",
        "images.fit=square",
        "hydra.run.dir=first",
    )
    assert ended.code == 0, ended.err
    done = replay(tmp_path, "first", "size=48", "optimizer.lr=1e-6", "--into", "larger")
    assert done.code == 0, done.err
    small, large = (Image.open(tmp_path / name / "canvas.png") for name in ("first", "larger"))
    assert large.size == (48, 48)
    resized = np.asarray(small.resize((48, 48), Image.Resampling.BILINEAR), dtype=int)
    assert np.abs(np.asarray(large, dtype=int) - resized).mean() < 2  # it stays as it began
    assert (
        np.abs(np.asarray(Image.open(tmp_path / "larger/init.png"), dtype=int) - np.asarray(large)).max() < 3
    )

    anew = replay(tmp_path, "first", "from=start", "size=48", "--into", "anew")
    assert anew.code == 0, anew.err
    assert record(tmp_path / "anew")["identity"] != record(tmp_path / "larger")["identity"]
    shutil.rmtree(tmp_path / "first")
    again = replay(tmp_path, "larger", "--into", "again")
    assert (again.code, again.out.splitlines()[-1]) == (0, "canvas  the same pixels"), again.err

    (tmp_path / "content.png").unlink()
    fast = replay(tmp_path, "larger", "iterations=1", "--into", "fast")  # its own pictures are large enough
    assert fast.code == 0, fast.err
    shutil.copy(ROOT / "data/pagoda.jpg", tmp_path / "content.png")
    for given, says in (
        (["size=64"], "error: images.content=content.png: is another picture than it was then"),
        (["images.style_scale=2", "images.content=no.png"], "error: images.content=no.png: no such file"),
        (["from=there"], "error: from=there: allowed are canvas, start"),
        (["from=canvas", "init_image=noise"], "error: from=canvas: init_image=noise says otherwise"),
    ):
        refused = replay(tmp_path, "larger", *given, "--into", "refused")
        assert (refused.code, refused.errors[-1][: len(says)]) == (2, says)
    assert not (tmp_path / "refused").exists()
