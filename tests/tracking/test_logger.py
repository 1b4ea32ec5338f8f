"""What reaches MLflow, read back from a real SQLite store and a real server on loopback."""

import csv
import errno
import io
import json
import math
import os
import re
import shutil
import socket
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from mlflow.entities import Run, RunInfo
from mlflow.tracking import MlflowClient
from PIL import Image
from support.forked import start
from support.mlflow_server import Broken, Server, free_port
from support.mlflow_tables import FOLDER
from support.rundirs import make_run, make_sweep

from nst.errors import NstError
from nst.runs.painting import Painting
from nst.runs.record import OUTPUT_FILES
from nst.tracking import logger
from nst.tracking.artifacts import fetch_run, upload
from nst.tracking.client import ENVIRONMENT, Store, TrackingUnavailable, absolute_uri
from nst.tracking.logger import begin_sweep, close_interrupted, end_sweep, log_run, run_url, watch_run
from nst.tracking.view import RunView, check_names

JOBS = [
    ["optimizer=adam", "content_layers=conv1_1"],
    ["optimizer=lbfgs", "content_layers=[conv4_1,conv2_1]"],
]

NOTE = "mlflow.note.content"
HYDRA = ("config", "hydra", "overrides")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    # A space, because addresses of files and files do not spell it alike.
    return f"sqlite:///{tmp_path_factory.mktemp('a store')}/mlflow.db"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return absolute_uri(str(tmp_path_factory.mktemp("a store") / "mlruns"))


@pytest.fixture(params=["database", "folder", pytest.param("server", marks=pytest.mark.e2e)])
def store(request: pytest.FixtureRequest) -> Store:
    """An experiment of its own for each test."""
    uri = request.getfixturevalue(request.param)
    return Store(getattr(uri, "uri", uri), request.node.name, canvas_steps=5)


def runs_of(store: Store) -> list[Run]:
    client = MlflowClient(store.uri)
    experiment = client.get_experiment_by_name(store.experiment)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], order_by=["tag.`nst.run_dir`"]))


def get(store: Store, run_id: str) -> Run:
    return MlflowClient(store.uri).get_run(run_id)


def artifacts(store: Store, run_id: str, folder: Path) -> dict[str, bytes]:
    """All artifacts of a run, downloaded to `folder`."""
    folder.mkdir()
    found = Path(MlflowClient(store.uri).download_artifacts(run_id, "", str(folder)))
    return contents(found)


def unpacked(archive: bytes) -> dict[str, bytes]:
    """The files in an archive."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        return {name: files.read(name) for name in files.namelist()}


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def rewrite(run_dir: Path, **changes: Any) -> None:
    record = json.loads((run_dir / "run.json").read_text())
    (run_dir / "run.json").write_text(json.dumps(record | changes))


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["optimizer=adam", "weights.style=1000000.0"], "adam, style 1e6"),
        (["optimizer=lbfgs", "content_layers=conv5_1"], "lbfgs, conv5_1"),
        (["optimizer.lr=0.1", "seed=2"], "lr 0.1, seed 2"),
        (["variant=adam_cat_mosaic", "content_layers=conv5_1"], "conv5_1, adam_cat_mosaic"),
        (["images.content=my photos/cat.png", "content_layers=none"], "cat, content layers none"),
        (["experiment=a/b", "tags=[sky]"], "tags=[sky]"),
        ([], "run"),
    ],
)
def test_a_name_is_short(overrides: list[str], name: str, tmp_path: Path) -> None:
    assert RunView.read(make_run(tmp_path / "run", overrides=overrides)).short == name


def test_a_sweep_is_a_parent_run_with_a_child_for_each_cell(store: Store, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", JOBS)
    make_run(sweep / "10", overrides=["optimizer=adam", "seed=7"], status="failed")
    make_run(sweep / "11", overrides=["optimizer=adam", "seed=8"], status="running")

    parent_id = begin_sweep(sweep, store)
    assert get(store, parent_id).info.status == "RUNNING"
    assert json.loads((sweep / "mlflow.json").read_text()) == {
        "uri": store.uri,
        "experiment_id": get(store, parent_id).info.experiment_id,
        "run_id": parent_id,
    }
    first = log_run(sweep / "0", store)
    assert begin_sweep(sweep, store) == parent_id
    assert end_sweep(sweep, store) == parent_id

    parent, *children = runs_of(store)
    assert parent.info.run_id == parent_id
    assert parent.info.run_name == "readme/noise_adam"
    assert parent.info.status == "FAILED"  # since a cell did
    assert parent.info.end_time - parent.info.start_time == 5000
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent_id}
    assert {child.info.run_name: child.info.status for child in children} == {
        "adam, conv1_1": "FINISHED",
        "lbfgs, conv4_1 conv2_1": "FINISHED",
        "adam, seed 7": "FAILED",
        "adam, seed 8": "KILLED",
    }
    assert children[0].info.run_id == first
    assert children[0].info.end_time - children[0].info.start_time == 3000
    tags = children[0].data.tags
    assert tags["nst.identity"] == json.loads((sweep / "0/run.json").read_text())["identity"]
    assert (tags["nst.model"], tags["nst.model.asked"]) == ("vgg16", "vgg19")
    (failed,) = (child for child in children if child.info.status == "FAILED")
    assert failed.data.tags["nst.error"].startswith("the total loss is nan")
    assert failed.data.tags["mlflow.note.content"] == f"`{failed.data.tags['nst.error']}`"


def test_the_parent_carries_the_sheet_and_a_table_of_its_cells(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", JOBS)
    make_run(sweep / "2", overrides=["optimizer=adam", "content_layers=none"], status="failed")
    Image.new("RGB", (700, 500), "teal").save(sweep / "sheet.png")
    (sweep / "sheet.mp4").write_bytes(b"frames")

    run_id = end_sweep(sweep, store)
    assert end_sweep(sweep, store) == run_id  # a second time nothing is appended

    found = artifacts(store, run_id, tmp_path / "artifacts")
    for name in ("sheet.png", "sheet.mp4", "sweep.json", "multirun.yaml"):
        assert found.pop(name) == (sweep / name).read_bytes()
    table = json.loads(found.pop("cells.json"))
    assert found == {}
    note = get(store, run_id).data.tags["mlflow.note.content"]
    assert note == (
        "`python run.py -m experiment=readme/noise_adam`\n\n"
        "Best of both scores: adam, conv1_1\n\n"
        f"![sheet.png](get-artifact?path=sheet.png&run_uuid={run_id})"
    )

    head, tail = ["name", "status"], ["total", "content", "style", "tv"]
    scores = ["lpips_content", "style_distance"]
    timings = ["setup_seconds", "painting_seconds", "writing_seconds", "iterations_per_second"]
    varying = ["optimizer/name", "optimizer/lr", "content_layers"]
    assert table["columns"] == head + varying + tail + scores + timings
    assert [row[1:5] for row in table["data"]] == [
        ["finished", "adam", "0.06", "conv1_1"],
        ["finished", "lbfgs", "1.0", "conv2_1 conv4_1"],
        ["failed", "adam", "0.06", "none"],
    ]
    record = json.loads((sweep / "1/run.json").read_text())
    assert table["data"][1][5:9] == [record["final"][key] for key in tail]
    assert table["data"][1][9:11] == [record["scores"][key] for key in scores]
    assert table["data"][2][5:] == [None] * 10
    experiment_id = get(store, run_id).info.experiment_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)  # load_table searches there
    loaded = MlflowClient(store.uri).load_table(experiment_id, "cells.json", [run_id])
    assert list(loaded.columns) == table["columns"]


def test_the_curves_are_those_of_losses_csv(store: Store, tmp_path: Path) -> None:
    # 10 columns: as many points as MLflow takes in one request; frames do not matter.
    run = make_run(tmp_path / "run", overrides=["save_every=3"], size=8, iterations=420)
    lines = (run / "losses.csv").read_text().splitlines()
    lines[1] = re.sub(r"^0,[^,]+", "0,nan", lines[1])
    (run / "losses.csv").write_text("\n".join(lines))

    logged = get(store, log_run(run, store))
    every = list(csv.DictReader(lines))
    shown = [round(419 * number / 89) for number in range(90)]
    rows = [every[iteration] for iteration in shown]
    client = MlflowClient(store.uri)
    for key in rows[0].keys() - {"iteration"}:
        name = f"terms_{key}" if "/" in key else "loss/total" if key == "total" else f"terms/{key}"
        points = client.get_metric_history(logged.info.run_id, name)
        points.sort(key=lambda point: point.step)
        assert [point.step for point in points] == shown
        np.testing.assert_array_equal([point.value for point in points], [float(row[key]) for row in rows])
        times = [point.timestamp for point in points]
        assert times == sorted(times)
        assert logged.info.start_time < times[0] < times[-1] == logged.info.end_time
    assert math.isnan(client.get_metric_history(logged.info.run_id, "loss/total")[0].value)
    assert logged.data.tags["nst.timings.painting_seconds"] == "2"
    assert not any(key.startswith("timings") for key in logged.data.metrics)
    scores = json.loads((run / "run.json").read_text())["scores"]
    assert logged.data.metrics["scores/lpips_content"] == scores["lpips_content"]
    assert logged.data.metrics["scores/style_distance"] == scores["style_distance"]


def test_params_are_what_varies_and_matters_and_tags_the_rest(store: Store, tmp_path: Path) -> None:
    odd = {"images": {"content": "${hydra:runtime.cwd}/a.jpg", "style": "x" * 9000}}
    overrides = [*JOBS[1], "images.content=odd", "seed=3"]
    run = make_run(tmp_path / "run", overrides=overrides, config=odd, status="failed")
    plain = make_run(tmp_path / "plain", overrides=["content_layers=none"])
    referring = "seed: 5\nweights: {tv: 1.5, style_layers: [1, 0.25]}\nsize: ${seed}\n"
    (plain / ".hydra/config.yaml").write_text(referring + "content_layers: {conv1_1: false}\n")

    data = get(store, log_run(run, store)).data
    assert data.params == {
        "optimizer.name": "lbfgs",
        "init_image.name": "noise",
        "content_layers": "conv2_1 conv4_1",
        "images.content": "${hydra:runtime.cwd}/a.jpg",
        "size": "32",
        "iterations": "20",
        "seed": "3",
    }
    assert data.tags["config.model.normalize"] == "False"
    assert data.tags["config.optimizer.lr"] == "1.0"
    assert data.tags["config.images.style"] == "x" * 5000
    assert not any(f"config.{key}" in data.tags for key in data.params)

    data = get(store, log_run(plain, store)).data
    assert data.params == {"size": "5", "content_layers": "none"}
    rest = {key: value for key, value in data.tags.items() if key.startswith("config.")}
    assert rest == {"config.seed": "5", "config.weights.tv": "1.5", "config.weights.style_layers": "1 0.25"}


def test_the_sweep_has_what_its_cells_share_and_the_best_scores(store: Store, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", JOBS)
    for cell, scores in (("0", (0.2, 0.9)), ("1", (0.3, 0.4))):
        rewrite(sweep / cell, scores=dict(zip(("lpips_content", "style_distance"), scores, strict=True)))
    parent = get(store, end_sweep(sweep, store))
    end_sweep(sweep, store)  # nothing twice
    cells = [run.data for run in runs_of(store)[1:]]
    assert parent.data.params["weights.tv"] == "1.2"
    assert "optimizer.name" not in parent.data.params
    assert not parent.data.params.keys() & {"content_layers", "optimizer.lr"}
    assert [cell.tags["config.optimizer.lr"] for cell in cells] == ["0.06", "1.0"]
    assert all("weights.tv" not in cell.params and "config.weights.tv" not in cell.tags for cell in cells)
    assert parent.data.metrics == {"scores/lpips_content": 0.3, "scores/style_distance": 0.4}
    history = MlflowClient(store.uri).get_metric_history(parent.info.run_id, "scores/lpips_content")
    assert len(history) == 1
    assert parent.data.tags["nst.best"] == "lbfgs, conv4_1 conv2_1"
    assert "Best of both scores: lbfgs, conv4_1 conv2_1" in get(store, parent.info.run_id).data.tags[NOTE]


def test_what_a_person_says_is_there_and_can_be_searched(store: Store, tmp_path: Path) -> None:
    said = {
        "name": "skies",
        "tags": ["sky", "for/the talk", "mlflow.user"],
        "notes": "Two (or 3) skies: a_b.",
    }
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", JOBS, config=said)
    single = make_run(tmp_path / "single", overrides=["optimizer=adam"], config=said)
    log_run(single, store)
    end_sweep(sweep, store)
    client = MlflowClient(store.uri)
    experiment = client.get_experiment_by_name(store.experiment)
    assert experiment is not None
    for query in (
        "tags.sky = 'true'",
        "tags.`for_the talk` = 'true'",
        "tags.`nst.tags` LIKE '%sky, for/the%'",
    ):
        assert len(client.search_runs([experiment.experiment_id], query)) == 4
    runs = {run.info.run_name: run.data.tags for run in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"skies", "adam, conv1_1", "lbfgs, conv4_1 conv2_1"}
    for tags in runs.values():
        assert tags[NOTE].startswith("Two (or 3) skies: a_b.\n\n")
        assert tags["mlflow.user"] == tmp_path.owner()
        assert tags["mlflow.source.name"] == "run.py"


PAINTED = "2026-11-23T20:13:57.123456+00:00"  # when a run of `make_run` was begun


def painting(run: Path, iteration: int, iterations: int, losses: list[str]) -> None:
    """Leave what a painter leaves for those who watch."""
    (run / ".losses-a1b2c3d4.csv").write_text("\n".join(losses[: iteration + 2]) + "\n0,12")
    Image.new("RGB", (32, 32), (iteration, 0, 0)).save(run / Painting.PICTURE)
    at = f"2026-11-23T20:13:59.{iteration:06}+00:00"
    told = {"iteration": iteration, "iterations": iterations, "table": ".losses-a1b2c3d4.csv"}
    Painting(started=PAINTED, at=at, **told).write(run)  # type: ignore[arg-type]


def test_a_run_is_watched_while_it_is_painted_and_completed_after_that(store: Store, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", JOBS[:1], iterations=400)
    run = sweep / "0"
    finished = json.loads((run / "run.json").read_text())
    losses = (run / "losses.csv").read_text().splitlines()
    aside = {name: (run / name).read_bytes() for name in OUTPUT_FILES if (run / name).is_file()}
    for name in aside:
        (run / name).unlink()
    begun = {key: finished[key] for key in ("name", "started", "identity")}
    (run / "run.json").write_text(json.dumps(begun | {"status": "running"}))

    def seen() -> tuple[Run, list[int], list[int]]:
        [child] = [found for found in runs_of(store) if found.info.run_name == "adam, conv1_1"]
        client = MlflowClient(store.uri)
        there = client.list_artifacts(child.info.run_id, "images")
        steps = {int(re.findall(r"step\+(\d+)", file.path)[0]) for file in there}
        history = client.get_metric_history(child.info.run_id, "loss/total")
        return child, sorted(point.step for point in history), sorted(steps)

    watch_run(run, store)
    child, points, steps = seen()
    assert (child.info.status, points, steps) == ("RUNNING", [], [])
    assert child.data.params["optimizer.name"] == "adam"
    for iteration in (100, 110, 250):
        painting(run, iteration, 400, losses)
        watch_run(run, store)
    watch_run(run, store)  # nothing new
    watched, points, steps = seen()
    assert (watched.info.status, watched.info.run_id) == ("RUNNING", child.info.run_id)
    grid = [round(399 * number / 89) for number in range(90)]
    assert points == [step for step in grid if step <= 250]
    assert steps == [100, 250]  # one in each fifth
    assert "![canvas.png]" in watched.data.tags[NOTE]
    found = artifacts(store, child.info.run_id, tmp_path / "watched")
    assert found["canvas.png"] == (run / Painting.PICTURE).read_bytes()

    Painting.remove(run)
    for name, content in aside.items():
        (run / name).write_bytes(content)
    (run / "run.json").write_text(json.dumps(finished))
    assert log_run(run, store) == child.info.run_id
    done, points, steps = seen()
    assert (done.info.status, points, steps) == ("FINISHED", grid, [0, 100, 200, 250, 399])
    assert done.data.tags["nst.timings.painting_seconds"] == "2"
    assert artifacts(store, child.info.run_id, tmp_path / "done")["canvas.png"] == aside["canvas.png"]
    assert log_run(run, store) == child.info.run_id  # all of it is there
    assert len(runs_of(store)) == 2


def test_what_was_watched_and_broke_off_is_replaced(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", overrides=JOBS[0], status="running")
    losses = ["iteration,total", *(f"{number},2" for number in range(9))]
    painting(run, 3, 20, losses)
    watch_run(run, store)
    [first] = runs_of(store)
    painting(run, 5, 20, losses)
    with monkeypatch.context() as full:
        full.setattr(MlflowClient, "log_artifacts", refusing)
        with pytest.raises(TrackingUnavailable):
            watch_run(run, store)
    assert close_interrupted(tmp_path, store) == 1
    painting(run, 7, 20, losses)
    watch_run(run, store)  # as after a restart
    [second] = runs_of(store)
    assert second.info.run_id != first.info.run_id
    assert second.info.status == "RUNNING"
    assert second.data.metrics["loss/total"] == 2
    rewrite(run, status="failed", error="out of memory", ended="2026-11-24T08:00:00.000001+00:00")
    Painting.remove(run)
    log_run(run, store)
    assert [run.info.status for run in runs_of(store)] == ["FAILED"]


def test_artifacts_are_the_files_and_the_canvas_has_steps(store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", overrides=JOBS[0], size=33, iterations=95)
    run_id = log_run(run, store)
    client = MlflowClient(store.uri)
    client.log_image(run_id, Image.new("RGB", (8, 8)), key="by MLflow", step=3)

    found = artifacts(store, run_id, tmp_path / "artifacts")
    images = {name: found.pop(name) for name in list(found) if name.startswith("images/")}
    on_disk = contents(run)
    assert json.loads(on_disk.pop("mlflow.json"))["run_id"] == run_id
    packed = unpacked(found.pop("run.zip"))
    assert {"canvas.png", "canvas.mp4"} <= found.keys()
    assert {".hydra/config.yaml", "run.json", "losses.csv"} <= packed.keys()
    assert found | packed == on_disk
    (tmp_path / "fetched").mkdir()
    fetch_run(run_id, store.uri, tmp_path / "fetched")
    fetched = contents(tmp_path / "fetched")
    assert {name: fetched[name] for name in on_disk} == on_disk
    assert "run.zip" not in fetched

    # The names are spelt as MLflow's own, or its pages would not find the images.
    form = re.compile(r"images/(.+)\+step\+(\d+)\+timestamp\+\d{13}\+[^+]+?(\+compressed.webp|.png)")
    parts = {name: form.fullmatch(name) for name in images}
    assert all(parts.values())
    steps = sorted((int(part[2]), name) for name, part in parts.items() if part and part[1] == "canvas")
    assert [step for step, _ in steps[::2]] == [0, 20, 50, 80, 94]  # of 0, 10, …, 90, 94
    assert [step for step, _ in steps[1::2]] == [step for step, _ in steps[::2]]
    assert get(store, run_id).data.tags["mlflow.loggedImages"] == "True"

    pictures = {
        step: np.asarray(Image.open(tmp_path / "artifacts" / name).convert("RGB"))
        for step, name in steps
        if name.endswith(".png")
    }
    video = imageio.imread(run / "canvas.mp4", plugin="FFMPEG", index=5)
    np.testing.assert_array_equal(pictures[50], video[:33, :33])
    np.testing.assert_array_equal(pictures[94], np.asarray(Image.open(run / "canvas.png")))


REQUESTS = ("create_run", "get_run", "search_runs", "update_run", "delete_run", "set_terminated", "log_batch")


def test_a_cell_is_twelve_requests_and_one_that_is_there_is_one(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(database, "counted", canvas_steps=3)
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", JOBS, iterations=400)
    begin_sweep(sweep, store)
    asked = Counter[str]()
    for name in REQUESTS:
        monkeypatch.setattr(MlflowClient, name, counting(getattr(MlflowClient, name), asked, name))

    def uploading(client: MlflowClient, info: RunInfo, stage: Path) -> None:
        asked["put"] += sum(path.is_file() for path in stage.rglob("*"))
        upload(client, info, stage)

    monkeypatch.setattr(logger, "upload", uploading)
    log_run(sweep / "0", store)
    assert asked == {"create_run": 1, "log_batch": 1, "put": 9, "set_terminated": 1}
    asked.clear()
    log_run(sweep / "0", store)
    assert asked == {"get_run": 1}


def counting(real: Callable[..., Any], asked: Counter[str], name: str) -> Callable[..., Any]:
    def counted(*given: Any, **named: Any) -> Any:
        asked[name] += 1
        return real(*given, **named)

    return counted


def test_what_a_request_that_was_sent_twice_made_is_deleted(database: str, tmp_path: Path) -> None:
    store = Store(database, "twice", canvas_steps=2)
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", JOBS)
    parent = begin_sweep(sweep, store)
    kept = log_run(sweep / "0", store)
    client = MlflowClient(database)
    info = get(store, kept).info
    double = client.create_run(info.experiment_id, tags=get(store, kept).data.tags).info.run_id
    assert len(runs_of(store)) == 3
    end_sweep(sweep, store)
    ids = {run.info.run_id for run in runs_of(store)}
    assert {parent, kept} < ids
    assert double not in ids
    assert len(ids) == 3


def test_nothing_is_logged_twice(store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", overrides=JOBS[0], status="running")
    killed = log_run(run, store)
    assert log_run(run, store) == killed

    rewrite(run, status="failed", error="out of memory")
    failed = log_run(run, store)
    assert [(run.info.run_id, run.info.status) for run in runs_of(store)] == [(failed, "FAILED")]

    (run / "mlflow.json").unlink()
    again = log_run(run, store)
    assert [run.info.run_id for run in runs_of(store)] == [again]

    rewrite(run, started="2026-11-24T08:00:00.000001+00:00")  # painted again
    repainted = log_run(run, store)
    assert [run.info.run_id for run in runs_of(store)] == [repainted]

    shutil.copytree(run, tmp_path / "copy")
    rewrite(tmp_path / "copy", started="2026-11-25T08:00:00.000001+00:00")
    copied = log_run(tmp_path / "copy", store)
    assert {run.info.run_id for run in runs_of(store)} == {repainted, copied}


def test_attempts_that_fail_leave_one_run_and_the_next_one_replaces_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", overrides=JOBS[0], status="running")
    log_run(run, store)
    rewrite(run, ended="2026-11-24T08:00:00.000001+00:00", started="2026-11-24T07:00:00.000001+00:00")
    with monkeypatch.context() as full:
        full.setattr(logger, "upload", refusing)
        for _ in range(3):
            with pytest.raises(TrackingUnavailable, match="No space left on device"):
                log_run(run, store)
            assert [run.info.status for run in runs_of(store)] == ["RUNNING"]
    assert close_interrupted(tmp_path, store) == 1  # which looks as if it had been logged
    [half] = runs_of(store)
    whole = log_run(run, store)
    assert [(run.info.run_id, run.info.status) for run in runs_of(store)] == [(whole, "KILLED")]
    assert whole != half.info.run_id
    assert log_run(run, store) == whole


def refusing(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_name_is_the_folder_of_another() -> None:
    check_names(["loss/total", "terms/content", "terms_content/conv1_1", "nst.model", "nst.model.asked"])
    for names in (["content", "content/conv1_1"], ["a/b/c", "a"], ["a/b", "a/b/c/d"]):
        with pytest.raises(NstError, match=r"^a(/b)?: |^content: "):
            check_names(names)


def test_a_run_that_hardly_began(database: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", overrides=[], status="failed")
    (run / ".canvas-x1y2z3.mp4").write_bytes(b"half a vid")
    record = json.loads((run / "run.json").read_text())
    known = {key: record[key] for key in ("name", "status", "error", "started", "ended")}
    (run / "run.json").write_text(json.dumps(known))

    store = Store(database, "early", canvas_steps=5)
    logged = get(store, log_run(run, store))
    assert (logged.info.run_name, logged.info.status) == ("run", "FAILED")
    assert logged.data.tags["nst.error"] == record["error"]
    assert logged.data.tags["config.mode"] == "reconstruct"
    found = artifacts(store, logged.info.run_id, tmp_path / "artifacts")
    assert found.keys() == {"run.zip"}
    assert unpacked(found["run.zip"]).keys() == {"run.json", *(f".hydra/{name}.yaml" for name in HYDRA)}


def test_a_broken_directory_leaves_no_run_behind(database: str, tmp_path: Path) -> None:
    store = Store(database, "broken", canvas_steps=5)
    run = make_run(tmp_path / "run", overrides=JOBS[0])
    rewrite(run, frames=[0, 10, 15, 19])
    with pytest.raises(NstError, match=r"canvas.mp4: 3 frames, where run.json names 4"):
        log_run(run, store)
    assert MlflowClient(database).get_experiment_by_name("broken") is None
    with pytest.raises(NstError, match=r"no run.json in it; give a run or sweep directory"):
        log_run(tmp_path, store)


def test_a_deleted_experiment_is_named(database: str, tmp_path: Path) -> None:
    store = Store(database, "gone", canvas_steps=5)
    client = MlflowClient(database)
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(NstError, match=r"^tracking.experiment=gone: deleted in .* restore -x \d+$"):
        log_run(make_run(tmp_path / "run", overrides=JOBS[0]), store)


@pytest.mark.e2e
def test_where_to_look(server: Server, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", overrides=JOBS[0], status="failed")
    store = Store(server.uri, "where", canvas_steps=5)
    info = get(store, log_run(run, store)).info
    page = f"/#/experiments/{info.experiment_id}/runs/{info.run_id}?workflowType=machine_learning"
    assert run_url(run, replace(store, uri=f"{server.uri}/")) == f"{server.uri}{page}"
    command = run_url(run, replace(store, uri="sqlite:////a b/mlflow.db"))
    assert command.startswith("mlflow ui --host 127.0.0.1 ")
    assert command.endswith(f"'sqlite:////a b/mlflow.db'  # then http://127.0.0.1:5000{page}")
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", JOBS[:1], status="failed")
    end_sweep(sweep, store)  # all runs of its experiment
    assert run_url(sweep, store) == f"{server.uri}{page.replace(f'/{info.run_id}', '')}"


@pytest.mark.e2e
def test_two_processes_meet_a_store_that_is_not_there_yet(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", JOBS)
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    known = {key: value for key, value in os.environ.items() if key != FOLDER}  # MLflow makes its tables
    both = []
    for name in "01":
        command = ["-m", "nst.tracking", str(sweep / name), "--uri", uri]
        command += ["--experiment", "shell", "--canvas-steps", "3"]
        both.append(start(command, tmp_path, known, tmp_path / f"out{name}", tmp_path / f"err{name}"))
    for name, process in zip("01", both, strict=True):
        process.join(120)
        assert (process.exitcode, (tmp_path / f"err{name}").read_text()) == (0, "")
        assert (tmp_path / f"out{name}").read_text().splitlines()[-1].startswith("mlflow ui ")
    parent, *children = runs_of(Store(uri, "shell", 3))
    assert len(children) == 2
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert Path(parent.info.artifact_uri.removeprefix("file://")).is_relative_to(tmp_path / "new/mlartifacts")


def refused(uri: str, tmp_path: Path) -> str:
    """The one line that a store which is no help gives."""
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", JOBS[:1], status="failed")
    store = Store(uri, "nst", canvas_steps=5)
    lines = set()
    for ask in (begin_sweep, end_sweep):
        with pytest.raises(TrackingUnavailable) as caught:
            ask(sweep, store)
        lines.add(str(caught.value))
    (line,) = {re.sub("0x[0-9a-f]+", "", line) for line in lines}
    assert line.startswith(f"tracking.uri={uri}: ")
    assert line.count("\n") == 0
    assert not (sweep / "mlflow.json").exists()
    return line


def test_a_dead_port(tmp_path: Path) -> None:
    assert "refused" in refused(f"http://127.0.0.1:{free_port()}", tmp_path)


def test_a_server_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # the test takes as long
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert "timed out" in refused(uri, tmp_path)
    bound = ENVIRONMENT
    tries = int(bound["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) + 1
    assert tries * int(bound["MLFLOW_HTTP_REQUEST_TIMEOUT"]) <= 30


def test_a_server_that_answers_500(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as broken:
        Thread(target=broken.serve_forever, args=(0.02,), daemon=True).start()
        assert "500" in refused(f"http://127.0.0.1:{broken.server_port}", tmp_path)
        broken.shutdown()
    assert Broken.asked == 4  # two calls, two tries each


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("paint" * 1000)
    assert "file is not a database" in refused(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
