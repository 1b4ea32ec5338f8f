"""Tracking servers that fail, each in its own way, and what becomes of the results: nothing is lost."""

import json
import logging
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from filelock import FileLock
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from support.command import Ended, command
from support.logging_here import LoggingHere
from support.logging_workers import check_arrived, log_at_once
from support.mlflow_server import Relay, Server, dripping, free_port, serving
from support.rundirs import make_run, make_sweep

from nst.errors import NstError
from nst.tracking.artifacts import fetch_run
from nst.tracking.background import BackgroundTracker
from nst.tracking.client import ENVIRONMENT, Store, TrackingUnavailable
from nst.tracking.command import main
from nst.tracking.logger import begin_sweep, close_interrupted, end_sweep, log_run

SEEDS = [[f"seed={seed}"] for seed in range(4)]
PAINT = ["model=vgg16", "model.weights=random", "size=24", "iterations=3", "hardware.device=cpu"]
PAINT += ["style_layers=conv1_1"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    relay = Relay(server.port)
    yield relay
    relay.close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many tries as ever, but a server that is only slow, for a busy machine, is not given up."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    wait(monkeypatch, 60)


def wait(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """For each answer from now on."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(seconds))


def runs_of(uri: str, experiment: str) -> list[Run]:
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id], order_by=["tag.`nst.run_dir`"]))


def assert_complete(uri: str, experiment: str, sweep: Path) -> None:
    """The store has the sweep and each of its cells, once, with all that is on disk."""
    parent, *children = runs_of(uri, experiment)
    client = MlflowClient(uri)
    assert parent.data.tags["nst.run_dir"] == str(sweep)
    cells = sorted(path.parent for path in sweep.glob("*/run.json"))
    assert [child.data.tags["nst.run_dir"] for child in children] == [str(cell) for cell in cells]
    for run in (parent, *children):
        assert run.info.status == "FINISHED"
        folder = Path(run.data.tags["nst.run_dir"])
        there = {file.path for file in client.list_artifacts(run.info.run_id)}
        shown = {path.name for path in folder.glob("[!.]*.*")} - {"mlflow.json"}
        if folder != sweep:
            shown = {name for name in shown if name.startswith("canvas.")} | {"run.zip"}
        assert shown <= there
        assert json.loads((folder / "mlflow.json").read_text())["run_id"] == run.info.run_id


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def nth(number: int, fault: str, of: str = "") -> Callable[[str], str | None]:
    """A fault that begins with the nth request that contains `of`, and stays."""
    seen = 0

    def at(request: str) -> str | None:
        nonlocal seen
        seen += of in request
        return fault if seen >= number else None

    return at


def log_all(tracker: BackgroundTracker, sweep: Path) -> None:
    tracker.begin(sweep)
    for cell in sorted(sweep.glob("*/run.json")):
        tracker.log(cell.parent)
    tracker.end(sweep)
    tracker.wait()


FAULTS = {
    "500 at the start": nth(1, "500"),
    "500 in the middle": nth(9, "500"),
    "hangs at the start": nth(1, "hang"),
    "hangs in the middle": nth(9, "hang"),
    "hangs in an upload": nth(3, "hang", "PUT"),
    "hangs up, the request done": nth(1, "cut", "runs/create"),
    "hangs up in an upload": nth(3, "cut", "PUT"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_warning_and_the_server_is_completed_later(
    fault: str, relay: Relay, server: Server, tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", SEEDS, size=8)
    store = Store(relay.uri, fault, canvas_steps=2)
    refused = []

    def failing(request: str) -> str | None:
        if what := FAULTS[fault](request):
            refused.append(request)
        return what

    relay.fault = failing
    wait(monkeypatch, 1)
    tracker = BackgroundTracker(LoggingHere(store))
    log_all(tracker, sweep)
    # The first failure, and that of the attempt at the end: two tries each, however many cells there are.
    assert len(refused) <= 4
    [warning] = warnings(caplog)
    assert re.fullmatch(rf"tracking.uri={relay.uri}: .*nothing is lost.*python -m nst.tracking.*", warning)
    assert tracker.where(sweep).startswith(f"MLflow  not logged; later: python -m nst.tracking {sweep} ")

    wait(monkeypatch, 60)
    end_sweep(sweep, Store(server.uri, fault, canvas_steps=2))
    assert_complete(server.uri, fault, sweep)


def test_a_server_that_is_back_when_the_sweep_ends_gets_all_of_it(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", SEEDS, size=8)
    tracker = BackgroundTracker(LoggingHere(Store(server.uri, "back", canvas_steps=2)))
    server.stop()
    wait(monkeypatch, 1)
    tracker.begin(sweep)
    tracker.log(sweep / "0")
    tracker.wait()
    server.go_on()
    wait(monkeypatch, 60)
    tracker.log(sweep / "1")
    tracker.wait()
    assert not (sweep / "1/mlflow.json").exists()  # it is left alone while cells are painted
    tracker.end(sweep)
    tracker.wait()
    assert_complete(server.uri, "back", sweep)
    assert len(warnings(caplog)) == 1
    assert tracker.where(sweep).startswith(f"MLflow  {server.uri}/#/experiments/")


def test_a_server_that_keeps_answering_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst.tracking.background.QUIET_SECONDS", 2)
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", SEEDS[:1], size=8)
    with dripping() as uri:
        tracker = BackgroundTracker(LoggingHere(Store(uri, "drips", canvas_steps=2)))
        log_all(tracker, sweep)
        [warning] = warnings(caplog)
        assert warning.startswith(f"tracking.uri={uri}: nothing could be logged for 2 s; nothing is lost")
        assert "not logged" in tracker.where(sweep)
        tracker.log(sweep / "0")
        tracker.wait()  # at once
    assert len(caplog.records) == 1


def test_a_download_is_bounded(relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", overrides=["seed=1"], size=8)
    run_id = log_run(run, Store(relay.uri, "download", canvas_steps=2))
    relay.fault = lambda request: "hang" if "mlflow-artifacts" in request else None
    wait(monkeypatch, 1)
    with pytest.raises(TrackingUnavailable, match="timed out"):
        fetch_run(run_id, relay.uri, tmp_path / "fetched")
    relay.fault = lambda request: None
    wait(monkeypatch, 60)
    (tmp_path / "again").mkdir()
    fetch_run(run_id, relay.uri, tmp_path / "again")
    assert (tmp_path / "again/canvas.png").read_bytes() == (run / "canvas.png").read_bytes()


def test_a_database_and_folders_that_others_hold_for_long(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst.tracking.client.LOCK_SECONDS", 0.5)
    monkeypatch.setattr("nst.tracking.stored_run.LOCK_SECONDS", 0.5)
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", SEEDS[:2], size=8)
    path = tmp_path / "mlflow.db"
    store = Store(f"sqlite:///{path}", "locked", canvas_steps=2)
    with FileLock(f"{path}.lock"), pytest.raises(TrackingUnavailable, match=r"mlflow.db.lock"):
        begin_sweep(sweep, store)
    with FileLock(sweep / ".mlflow.lock"), pytest.raises(TrackingUnavailable, match=r"\.mlflow\.lock"):
        begin_sweep(sweep, store)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        tracker = BackgroundTracker(LoggingHere(store))
        log_all(tracker, sweep)
        [warning] = warnings(caplog)
        assert "database is locked" in warning
        assert "nothing is lost" in warning
    end_sweep(sweep, store)
    assert_complete(store.uri, "locked", sweep)


def test_a_broken_cell_does_not_cost_the_others_their_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", SEEDS[:3], size=8)
    (sweep / "0/canvas.png").unlink()
    (sweep / "1/.hydra/config.yaml").unlink()
    store = Store(f"sqlite:///{tmp_path}/mlflow.db", "broken", canvas_steps=2)
    tracker = BackgroundTracker(LoggingHere(store))
    log_all(tracker, sweep)
    [warning] = warnings(caplog)
    assert warning.startswith(f"{sweep}/0: not logged, {sweep}/0/canvas.png: No such file")
    assert "tracking.uri" not in warning  # it is not the store's fault
    parent, child = runs_of(store.uri, "broken")
    assert (parent.info.status, child.info.status) == ("FINISHED", "FINISHED")
    assert child.data.params["seed"] == "2"
    with pytest.raises(NstError, match=r"/0: not logged"):
        end_sweep(sweep, store)


def painting(folder: Path, uri: str, *arguments: str) -> Ended:
    """A sweep of four cells, painted one after the other while they are logged."""
    return command(
        folder,
        *("-m", *PAINT, "seed=0,1,2,3", "hardware.max_batch=1", "hydra.sweep.dir=outputs/sweep"),
        *(f"tracking.uri={uri}", "tracking.experiment=whole", *arguments),
    )


def python_m_nst_tracking(sweep: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What people type, to log what is missing."""
    monkeypatch.setattr(sys, "argv", ["nst.tracking", str(sweep), "--uri", uri])
    assert main() == 0


def assert_painted(ended: Ended, sweep: Path, uri: str) -> None:
    assert ended.code == 0, ended.err
    assert ended.err.count("nothing is lost") == 1
    assert "Traceback" not in ended.err
    assert f"tracking.uri={uri}: " in ended.err
    for cell in range(4):
        assert json.loads((sweep / f"{cell}/run.json").read_text())["status"] == "finished"
    assert (sweep / "index.html").is_file()


def test_a_sweep_whose_server_is_killed_in_its_middle(
    server: Server,
    relay: Relay,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    at = nth(2, "kill", "runs/create")  # the first cell's, while the others are painted

    def kill(request: str) -> str | None:
        if at(request):
            server.kill()
        return None

    relay.fault = kill
    try:
        ended = painting(tmp_path, relay.uri)
        sweep = tmp_path / "outputs/sweep"
        assert_painted(ended, sweep, relay.uri)
        with pytest.raises(SystemExit, match=rf"^tracking.uri={server.uri}: [^\n]*nothing is lost[^\n]*$"):
            python_m_nst_tracking(sweep, server.uri, monkeypatch)
    finally:
        server.start()  # for the other tests too
    python_m_nst_tracking(sweep, server.uri, monkeypatch)
    assert_complete(server.uri, "whole", sweep)
    logged, total, place = capsys.readouterr().out.splitlines()
    assert logged == f"{sweep}: 4 logged, 0 there already"
    assert total == "4 runs logged, 0 there already"
    assert place.startswith(f"{server.uri}/#/experiments/")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["down", "hangs", "500"])
def test_a_sweep_whose_server_is_no_help_from_its_start(
    fault: str, server: Server, relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"http://127.0.0.1:{free_port()}" if fault == "down" else relay.uri
    relay.fault = nth(1, {"hangs": "hang"}.get(fault, fault))
    wait(monkeypatch, 1)
    ended = painting(tmp_path, uri, f"tracking.experiment={fault}")
    sweep = tmp_path / "outputs/sweep"
    assert_painted(ended, sweep, uri)
    wait(monkeypatch, 60)
    python_m_nst_tracking(sweep, server.uri, monkeypatch)
    assert_complete(server.uri, fault, sweep)


def test_a_dead_port(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", SEEDS, size=8)
    tracker = BackgroundTracker(LoggingHere(Store(f"http://127.0.0.1:{free_port()}", "dead", canvas_steps=2)))
    log_all(tracker, sweep)
    assert "refused" in warnings(caplog)[0]
    assert len(warnings(caplog)) == 1


def test_four_processes_log_to_one_new_sqlite_file(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/new/mlflow.db", "at once", canvas_steps=3)
    *sweeps, shared = [make_sweep(tmp_path / name, name, SEEDS, size=8) for name in "abcde"]
    log_at_once(sweeps, shared, store)
    runs, _, _ = check_arrived([*sweeps, shared], store)
    assert runs == 5 * (1 + len(SEEDS))


def test_what_a_killed_process_left_running_is_closed(server: Server, relay: Relay, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", SEEDS[:2], size=8)
    other = make_sweep(tmp_path / "sweep~1", "readme/noise_adam", SEEDS[:1], size=8)
    store = Store(server.uri, "left", canvas_steps=2)
    assert close_interrupted(sweep, store) == 0  # nothing is there yet
    begin_sweep(other, store)
    # As kill -9 leaves it: one cell logged, one in the middle of being so, the parent open.
    log_run(sweep / "0", store)
    relay.fault = nth(2, "500", "PUT")
    with pytest.raises(TrackingUnavailable):
        log_run(sweep / "1", Store(relay.uri, "left", canvas_steps=2))
    left = [run.info.status for run in runs_of(server.uri, "left")]
    assert left == ["RUNNING", "FINISHED", "RUNNING", "RUNNING"]

    os.utime(sweep / "1/run.json", (2e9, 2e9))
    tracker = BackgroundTracker(LoggingHere(store))
    tracker.close(sweep)
    tracker.wait()
    parent, cell, half, others = runs_of(server.uri, "left")
    assert [run.info.status for run in (parent, cell)] == ["KILLED", "FINISHED"]
    assert [run.info.status for run in (half, others)] == ["KILLED", "RUNNING"]
    assert parent.info.end_time == half.info.end_time == 2_000_000_000_000  # its last sign of life
    assert close_interrupted(sweep, store) == 0

    assert begin_sweep(sweep, store) == parent.info.run_id  # and it is gone on with
    assert MlflowClient(server.uri).get_run(parent.info.run_id).info.status == "RUNNING"
    end_sweep(sweep, store)
    end_sweep(other, store)
    assert {run.info.status for run in runs_of(server.uri, "left")} == {"FINISHED"}
    assert len(runs_of(server.uri, "left")) == 5


def test_a_sweep_that_is_broken_off_is_killed_and_waits_for_nobody(
    relay: Relay, server: Server, tmp_path: Path
) -> None:
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", SEEDS, size=8)
    tracker = BackgroundTracker(LoggingHere(Store(relay.uri, "off", canvas_steps=2)))
    logging_began, may_go_on = Event(), Event()

    def hold(request: str) -> str | None:
        if "PUT" in request:
            logging_began.set()
            may_go_on.wait(60)
        return None

    relay.fault = hold
    tracker.begin(sweep)
    for cell in range(4):
        tracker.log(sweep / str(cell))
    logging_began.wait(60)
    may_go_on.set()
    tracker.abort([sweep])
    parent, *cells = runs_of(server.uri, "off")
    assert (parent.info.status, [run.info.status for run in cells]) == ("KILLED", ["FINISHED"])
    rewrite(sweep / "sweep.json", interrupted=True)
    rewrite(sweep / "1/run.json", status="interrupted", error="interrupted by SIGINT")
    rewrite(sweep / "2/run.json", status="diverged", error="not finite from iteration 7 on")
    end_sweep(sweep, Store(server.uri, "off", canvas_steps=2))
    parent, *cells = runs_of(server.uri, "off")
    assert parent.info.status == "KILLED"
    assert [run.info.status for run in cells] == ["FINISHED", "KILLED", "FAILED", "FINISHED"]
    assert (
        cells[2].data.tags["mlflow.note.content"].startswith("`not finite from iteration 7 on`\n\n![canvas")
    )
    rewrite(sweep / "sweep.json", interrupted=False)
    for cell in "12":
        rewrite(sweep / cell / "run.json", status="finished", error=None)
    end_sweep(sweep, Store(server.uri, "off", canvas_steps=2))
    assert_complete(server.uri, "off", sweep)
