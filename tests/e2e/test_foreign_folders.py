"""A folder that holds something else than what is asked for: nothing in it is touched, and all is painted."""

import itertools
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from PIL import Image
from support.command import Ended, command
from support.composing import config
from support.forked import python
from support.results import pixels, record

from nst.config.composed import from_composed
from nst.config.paths import ROOT
from nst.config.schema import Config
from nst.execution.output_dir import conflict_in
from nst.execution.resolve import identity_of
from nst.runs.job import Job

SMALL = ["model=vgg16", "model.weights=random", "size=16", "iterations=2", "save_every=2"]
SMALL += ["init_image=content", "optimizer=adam", "content_layers=conv1_1", "style_layers=conv1_1"]
SMALL += ["tracking=none", "hardware.device=cpu"]
SWEEP = ["-m", *SMALL, "hydra.sweep.dir=X"]
RUN = [*SMALL, "hydra.run.dir=X"]
SEARCH = ["-m", *SMALL, "hydra/sweeper=search", "hydra.sweep.dir=X", "hydra.sweeper.objectives=[total]"]
SEARCH += ["hydra.sweeper.at_once=2", "hydra.sweeper.trials=2", "optimizer.lr=interval(0.01,0.1)"]
RATES = "optimizer.lr=0.01,0.2,0.05"


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Each file below a folder: its bytes, and when it was changed."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != ".nst.lock"]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def check_cells(sweep: Path, count: int) -> list[dict[str, Any]]:
    """Each cell of a sweep is finished, and what its config asks for; their records."""
    records = [record(sweep / str(number)) for number in range(count)]
    assert sorted(path.name for path in sweep.iterdir() if path.is_dir()) == list(map(str, range(count)))
    for number, found in enumerate(records):
        check_run(sweep / str(number))
        assert found["status"] == "finished"
    return records


def check_run(run: Path) -> None:
    config: Any = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.load(run / ".hydra/config.yaml"))
    assert record(run)["identity"] == identity_of(from_composed(config))


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep, a run and a search, in folders of these names."""
    folder = tmp_path_factory.mktemp("painted")
    for name, arguments in (("sweep", [*SWEEP, RATES]), ("run", RUN), ("search", SEARCH)):
        ended = command(folder, *arguments)
        assert (ended.code, ended.errors) == (0, []), ended.err
        (folder / "X").rename(folder / name)
    return folder


def unfinished(run: Path) -> None:
    """As a process leaves it that is killed while it paints."""
    (run / "run.json").write_text(json.dumps({"status": "running", "name": "?", "started": "2026-01-01"}))
    (run / "canvas.mp4").unlink()


# What is in the folder X at first, and what is done to that; what is asked for; how many cells these are.
KINDS: dict[str, tuple[str, Callable[[Path], object], list[str], int]] = {
    "other cells": ("sweep", lambda X: None, [*SWEEP, "optimizer.lr=0.3,0.4"], 2),
    "one put before": ("sweep", lambda X: None, [*SWEEP, "optimizer.lr=0.05,0.01,0.2"], 3),
    "fewer of them": ("sweep", lambda X: None, [*SWEEP, "optimizer.lr=0.01,0.2"], 2),
    "a file of the user's": ("sweep", lambda X: (X / "1/notes.txt").touch(), [*SWEEP, RATES], 3),
    "a link": ("sweep", lambda X: (X / "3").symlink_to(X / "0"), [*SWEEP, f"{RATES},0.3"], 4),
    "painted again": ("sweep", lambda X: None, [*SWEEP, RATES, "resume=false"], 3),
    "other unfinished cells": ("sweep", lambda X: unfinished(X / "0"), [*SWEEP, "optimizer.lr=0.3,0.2"], 2),
    "a sweep, for presets": ("sweep", lambda X: None, [*SWEEP, "hydra/sweeper=basic", RATES], 3),
    "another run": ("run", lambda X: None, [*RUN, "weights.tv=3"], 0),
    "another run, unfinished": ("run", unfinished, [*RUN, "weights.tv=3"], 0),
    "a sweep, for a run": ("sweep", lambda X: None, RUN, 0),
    "a search of another size": ("search", lambda X: None, [*SEARCH, "size=18"], 2),
    "a search of another image": ("search", lambda X: None, [*SEARCH, "images=cat_mosaic"], 2),
    "a search of another network": ("search", lambda X: None, [*SEARCH, "model=vgg19"], 2),
    "a sweep, for a search": ("sweep", lambda X: None, SEARCH, 2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_holds_something_else_is_left_as_it_is(
    kind: str, painted: Path, tmp_path: Path
) -> None:
    holds, change, arguments, cells = KINDS[kind]
    shutil.copytree(painted / holds, tmp_path / "X", symlinks=True)
    change(tmp_path / "X")
    before = contents(tmp_path)
    ended = command(tmp_path, *arguments)
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert {path: now for path, now in contents(tmp_path).items() if path in before} == before
    assert "Traceback" not in ended.err
    [said] = [line for line in ended.err.splitlines() if "; painting in " in line]
    assert re.fullmatch(r"warning: X: .+; painting in X-1", said)
    assert {path.name for path in tmp_path.iterdir()} <= {"X", "X-1", "outputs"}
    if cells == 0:
        check_run(tmp_path / "X-1")
        assert record(tmp_path / "X-1")["status"] == "finished"
        return
    records = check_cells(tmp_path / "X-1", cells)
    assert f"{cells} of {cells} cells finished" in ended.err
    # What is there already is taken from there, but where it is to be painted again.
    if holds == "sweep" and "resume=false" not in arguments and not kind.endswith("a search"):
        known = {found["identity"]: path for path, found in finished(tmp_path / "X").items()}
        for found in records:
            assert found.get("taken_from", "").startswith(str(known.get(found["identity"], "")))
            assert ("taken_from" in found) == (found["identity"] in known)


def finished(sweep: Path) -> dict[Path, dict[str, Any]]:
    found = {path.parent: record(path.parent) for path in sweep.glob("*/run.json")}
    return {run: about for run, about in found.items() if about["status"] == "finished"}


def test_a_folder_of_its_own_is_gone_on_with(painted: Path, tmp_path: Path) -> None:
    shutil.copytree(painted / "sweep", tmp_path / "X")
    unfinished(tmp_path / "X/1")
    before = [contents(tmp_path / f"X/{cell}") for cell in (0, 2)]
    kept = {"canvas.png", "canvas.mp4", "losses.csv", "run.json"}
    more = command(tmp_path, *SWEEP, f"{RATES},0.3")
    assert (more.code, more.errors) == (0, []), more.err
    assert "painting in" not in more.err
    assert "4 of 4 cells finished" in more.err
    check_cells(tmp_path / "X", 4)
    for cell in before:
        assert {path: now for path, now in cell.items() if Path(path).name in kept}.items() <= contents(
            tmp_path / "X"
        ).items()


def test_a_search_with_more_trials_goes_on_in_its_folder(painted: Path, tmp_path: Path) -> None:
    shutil.copytree(painted / "search", tmp_path / "X")
    before = {cell: record(tmp_path / "X" / cell) for cell in "01"}
    ended = command(tmp_path, *SEARCH, "hydra.sweeper.trials=3")
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert "3 of 3 cells finished" in ended.err
    check_cells(tmp_path / "X", 3)
    assert {cell: record(tmp_path / "X" / cell) for cell in "01"} == before


@pytest.mark.parametrize("way", ["run", "sweep"])
def test_pictures_in_the_folder_named_are_read_and_left(way: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name, color in (("content.png", "red"), ("style.png", "blue")):
        Image.new("RGB", (20, 20), color).save(here / name)
    before = contents(tmp_path)
    arguments = [*SMALL, "images.content=content.png", "images.style=style.png"]
    arguments += ["hydra.run.dir=."] if way == "run" else ["seed=1,2", "hydra.sweep.dir=."]
    ended = command(here, *([] if way == "run" else ["-m"]), *arguments)
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert f"; painting in {here}-1" in ended.err
    assert contents(here) == before
    run = tmp_path / ("here-1" if way == "run" else "here-1/0")
    assert Image.open(run / "content.png").getpixel((0, 0)) == (255, 0, 0)
    assert record(run)["status"] == "finished"


def test_a_picture_of_the_sweep_in_whose_folder_it_is_to_be(painted: Path, tmp_path: Path) -> None:
    shutil.copytree(painted / "sweep", tmp_path / "X")
    before = contents(tmp_path)
    for _ in range(2):  # the second time in a folder of its own
        ended = command(tmp_path, *SWEEP, RATES, f"images.content={tmp_path}/X/0/canvas.png")
        assert (ended.code, ended.errors) == (0, []), ended.err
        assert before.items() <= contents(tmp_path).items()
        assert not (tmp_path / "X-2").exists()
        check_cells(tmp_path / "X-1", 3)


def test_cells_have_a_place_each_in_the_folder(tmp_path: Path) -> None:
    for subdir, says in (
        ("same", "subdir=same: more than one cell"),
        ("../${seed}", "takes the name of one"),
    ):
        ended = command(tmp_path, *SWEEP, "seed=1,2", f"'hydra.sweep.subdir={subdir}'".strip("'"))
        assert ended.code == 2
        [line] = ended.errors
        assert says in line
        assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_not_looked_into(painted: Path, tmp_path: Path) -> None:
    shutil.copytree(painted / "run", tmp_path / "run")
    (tmp_path / "run/losses.png").unlink()
    os.mkfifo(tmp_path / "run/losses.png")
    assert str(conflict_in(tmp_path / "run", {Path(): job(tmp_path)})).startswith("holds losses.png")
    assert conflict_in(tmp_path / "run/canvas.png", {}) == "is a file"


def job(folder: Path) -> Job:
    return Job(small(), folder, ())


@cache
def small() -> Config:
    return config(*SMALL)


KILLED = ["-m", *SMALL, "iterations=30", "hydra.sweep.dir=outputs/X"]
KILLED += ["seed=0,1,2", "init_image=noise", "hardware.checkpoint=0", "style_layers=conv2_1"]
STEP = 9  # of file operations, from one kill to the next


def killed(folder: Path, when: object, *arguments: str) -> Ended:
    known = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    known.pop("HYDRA_FULL_ERROR", None)
    return Ended(*python([str(ROOT / "benchmarks/killed.py"), str(when), *arguments], folder, known))


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pure")
    assert command(folder, *KILLED).code == 0
    return folder / "outputs/X"


def check_same(mine: Path, pure: Path) -> None:
    for cell in "012":
        assert (pixels(mine / cell) == pixels(pure / cell)).all()
        rows = [(run / cell / "losses.csv").read_text().splitlines() for run in (mine, pure)]
        assert [len(table) for table in rows] == [31, 31]
        assert record(mine / cell)["frames"] == record(pure / cell)["frames"]


def test_a_kill_when_the_first_cell_is_finished_costs_the_others_nothing(pure: Path, tmp_path: Path) -> None:
    assert killed(tmp_path, "finished", *KILLED).code == -signal.SIGKILL
    X = tmp_path / "outputs/X"
    assert [record(X / cell)["status"] for cell in "012"] == ["finished", "running", "running"]
    ended = command(tmp_path, *KILLED)
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert "1 of 3 cells were painted before" in ended.err
    assert "going on from iteration" in (X / "1/nst.log").read_text()
    assert sorted(path.name for path in (tmp_path / "outputs").iterdir()) == ["X", "index.html"]
    check_same(X, pure)


def test_a_run_is_killed_before_every_file_operation_of_its_end(pure: Path, tmp_path: Path) -> None:
    """One kill after the other in the same folder, each some operations later than the one before."""
    X, known = tmp_path / "outputs/X", dict[Path, Any]()
    for when in itertools.count(0, STEP):
        ended = killed(tmp_path, when, *KILLED)
        now = {
            run: (about["started"], (run / "canvas.png").read_bytes()) for run, about in finished(X).items()
        }
        assert known.items() <= now.items()  # nothing that was finished is painted again
        known = now
        if ended.code == 0:
            break
        assert ended.code == -signal.SIGKILL, ended.err
    assert when >= 3 * STEP
    assert (ended.errors, "3 of 3 cells finished" in ended.err) == ([], True)
    assert [line for line in ended.err.splitlines() if "painting in" in line] == []
    assert sorted(path.name for path in (tmp_path / "outputs").iterdir()) == ["X", "index.html"]
    assert {"sheet.png", "sheet.mp4", "index.html"} <= {path.name for path in X.iterdir()}
    check_same(X, pure)
