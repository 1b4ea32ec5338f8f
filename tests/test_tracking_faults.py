"""Tracking servers that fail, each in its own way, and what becomes of the results: nothing is lost."""

import json
import logging
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import pytest
from filelock import FileLock
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow_server import Relay, Server, free_port, serving
from rundirs import make_run, make_sweep
from test_cli import Ended, command

from nst import logbook as logbook_module
from nst import store as store_module
from nst.errors import NstError
from nst.logbook import Logbook
from nst.store import ENVIRONMENT, Store, TrackingUnavailable
from nst.tracking import begin_sweep, end_sweep, fetch_run, log_run

SEEDS = [[f"seed={seed}"] for seed in range(4)]
PAINT = ["model=vgg16", "model.weights=random", "size=16", "iterations=3", "hardware.device=cpu"]


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
        assert {path.name for path in folder.iterdir() if path.is_file() and path.suffix != ".lock"} - {
            "mlflow.json"
        } <= there
        assert json.loads((folder / "mlflow.json").read_text())["run_id"] == run.info.run_id


def nth(number: int, fault: str, of: str = "") -> Callable[[str], str | None]:
    """A fault that begins with the nth request that contains `of`, and stays."""
    seen = 0

    def at(request: str) -> str | None:
        nonlocal seen
        seen += of in request
        return fault if seen >= number else None

    return at


def log_all(book: Logbook, sweep: Path) -> None:
    book.begin(sweep)
    for cell in sorted(sweep.glob("*/run.json")):
        book.log(cell.parent)
    book.end(sweep)
    book.wait()


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
    fault: str,
    relay: Relay,
    server: Server,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", SEEDS, size=8)
    store = Store(relay.uri, fault, canvas_steps=2)
    refused = 0

    def failing(request: str, plan: Callable[[str], str | None] = FAULTS[fault]) -> str | None:
        nonlocal refused
        what = plan(request)
        refused += what is not None
        return what

    relay.fault = failing
    wait(monkeypatch, 1)
    book = Logbook(store)
    log_all(book, sweep)
    # The first failure, and that of the attempt at the end: two tries each, however many cells there are.
    assert refused <= 4
    [warning] = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert re.fullmatch(rf"tracking.uri={relay.uri}: .*nothing is lost.*python -m nst.tracking.*", warning)
    assert book.where(sweep).startswith(f"MLflow  not logged; later: python -m nst.tracking {sweep} ")

    wait(monkeypatch, 60)
    end_sweep(sweep, Store(server.uri, fault, canvas_steps=2))
    assert_complete(server.uri, fault, sweep)


def test_a_server_that_is_back_when_the_sweep_ends_gets_all_of_it(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", SEEDS, size=8)
    book = Logbook(Store(server.uri, "back", canvas_steps=2))
    server.stop()
    wait(monkeypatch, 1)
    book.begin(sweep)
    book.log(sweep / "0")
    book.wait()
    server.go_on()
    wait(monkeypatch, 60)
    book.log(sweep / "1")
    book.wait()
    assert not (sweep / "1/mlflow.json").exists()  # it is left alone while cells are painted
    book.end(sweep)
    book.wait()
    assert_complete(server.uri, "back", sweep)
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert book.where(sweep).startswith(f"MLflow  {server.uri}/#/experiments/")


@contextmanager
def dripping() -> Iterator[str]:
    """A server that answers a letter at a time, for ever: no wait for the next one is long."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def drip(connection: socket.socket) -> None:
            with closing(connection):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                connection.settimeout(0.2)
                while True:
                    try:
                        if not connection.recv(65536):
                            return
                    except TimeoutError:
                        pass
                    try:
                        connection.sendall(b"{")
                    except OSError:
                        return

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                Thread(target=drip, args=[connection], daemon=True).start()

        Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_keeps_answering_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logbook_module, "QUIET_SECONDS", 2)
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", SEEDS[:1], size=8)
    with dripping() as uri:
        book = Logbook(Store(uri, "drips", canvas_steps=2))
        log_all(book, sweep)
        [warning] = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
        assert warning.startswith(f"tracking.uri={uri}: nothing could be logged for 2 s; nothing is lost")
        assert "not logged" in book.where(sweep)
        book.log(sweep / "0")
        book.wait()  # at once
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
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.5)
    monkeypatch.setattr("nst.tracking.LOCK_SECONDS", 0.5)
    sweep = make_sweep(tmp_path / "sweep", "readme/noise_adam", SEEDS[:2], size=8)
    path = tmp_path / "mlflow.db"
    store = Store(f"sqlite:///{path}", "locked", canvas_steps=2)
    with FileLock(f"{path}.lock"), pytest.raises(TrackingUnavailable, match=r"mlflow.db.lock"):
        begin_sweep(sweep, store)
    with FileLock(sweep / ".mlflow.lock"), pytest.raises(TrackingUnavailable, match=r"\.mlflow\.lock"):
        begin_sweep(sweep, store)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        book = Logbook(store)
        log_all(book, sweep)
        [warning] = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
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
    book = Logbook(store)
    log_all(book, sweep)
    [warning] = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
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


def complete(sweep: Path, uri: str) -> None:
    """What people type, to log what is missing."""
    ask = [sys.executable, "-m", "nst.tracking", str(sweep), "--uri", uri]
    done = subprocess.run(ask, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def assert_painted(ended: Ended, sweep: Path, uri: str) -> None:
    assert ended.code == 0, ended.err
    assert ended.err.count("nothing is lost") == 1
    assert "Traceback" not in ended.err
    assert f"tracking.uri={uri}: " in ended.err
    for cell in range(4):
        assert json.loads((sweep / f"{cell}/run.json").read_text())["status"] == "finished"
    assert (sweep / "index.html").is_file()


def test_a_sweep_whose_server_is_killed_in_its_middle(tmp_path: Path) -> None:
    server = Server(tmp_path / "server")
    server.start()
    relay = Relay(server.port)
    at = nth(2, "kill", "runs/create")  # the first cell's, while the others are painted

    def kill(request: str) -> str | None:
        if at(request):
            server.kill()
        return None

    relay.fault = kill
    try:
        ended = painting(tmp_path, relay.uri)
        assert_painted(ended, tmp_path / "outputs/sweep", relay.uri)
        server.start()
        complete(tmp_path / "outputs/sweep", server.uri)
        assert_complete(server.uri, "whole", tmp_path / "outputs/sweep")
    finally:
        relay.close()
        server.kill()


def test_a_sweep_whose_server_is_down_at_its_start_and_comes_later(server: Server, tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    assert_painted(painting(tmp_path, uri), tmp_path / "outputs/sweep", uri)
    complete(tmp_path / "outputs/sweep", server.uri)
    assert_complete(server.uri, "whole", tmp_path / "outputs/sweep")
