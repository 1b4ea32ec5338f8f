"""What a store says, and what it is asked with: neither reaches a terminal or a file that it should not."""

import base64
import json
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pytest
from mlflow.store.db import utils
from mlflow.tracking import MlflowClient
from sqlalchemy import Engine
from support.command import SMALL, command
from support.driven import driven
from support.mlflow_server import Relay, Server
from support.rundirs import make_sweep

from nst.errors import NstError
from nst.io.credentials import PASSWORD, USERNAME, check_address, strip_credentials, with_credentials
from nst.tracking.artifacts import fetch_run
from nst.tracking.client import Store, TrackingUnavailable, absolute_uri, connect
from nst.tracking.command import main
from nst.tracking.logger import begin_sweep, close_interrupted, run_url

ESCAPE = "\x1b]0;title\x07\x1b[31m"
NAME, SECRET = "nobody-in-particular", "p@ss/Zq9Secret"
GIVEN = f"{NAME}:{quote(SECRET, '')}@"


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """A server that answers everything so; its address."""

    class Answering(BaseHTTPRequestHandler):
        def __getattr__(self, name: str) -> object:
            if name.startswith("do_"):
                return self.answer
            raise AttributeError(name)

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def experiment(**said: object) -> str:
    return json.dumps({"experiment": said})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, ""),
        (200, "{}"),
        (200, "[]"),
        (200, "OK"),
        (200, f"<html>{ESCAPE}sign in"),
        (200, '{"status": "ok"}'),
        (200, '{"experiment": 3}'),
        (200, '{"experiment": {}}'),
        (200, experiment(experiment_id="1")),
        (200, experiment(experiment_id=f"{ESCAPE}1", lifecycle_stage="active")),
        (200, experiment(experiment_id=f"{ESCAPE}1", lifecycle_stage="deleted")),
        (200, experiment(experiment_id="1; rm -r .", lifecycle_stage="deleted")),
        (200, experiment(experiment_id="1", lifecycle_stage="active")),  # and then no run
        (404, f"<html>{ESCAPE}no such page"),
    ],
)
def test_what_is_no_mlflow_server_is_told_so(
    status: int,
    body: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sweep = make_sweep(tmp_path / "sweep", "a", [["seed=1"]], status="failed")
    with answering(status, body) as uri:
        monkeypatch.setattr(sys, "argv", ["nst.tracking", str(sweep), "--uri", uri])
        with pytest.raises(SystemExit) as ended:
            main()
    line = str(ended.value.code)
    assert line.startswith(f"tracking.uri={uri}: not an MLflow server, by what it answered (")
    assert line.isprintable()
    assert "deleted" not in line.partition("(")[0]
    assert capsys.readouterr().err == ""
    assert not (sweep / "mlflow.json").exists()


@pytest.mark.parametrize("body", ["{}", '{"run": {"info": {}}}', "<html>"])
def test_what_is_no_mlflow_server_has_no_run(body: str, tmp_path: Path) -> None:
    with answering(200, body) as uri, pytest.raises(TrackingUnavailable, match="not an MLflow server"):
        fetch_run("a" * 32, uri, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("form", ["json", "html"])
def test_what_a_server_says_no_with_is_shown_and_not_obeyed(
    status: int, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD, SECRET)
    said = f"{ESCAPE}no {SECRET} http://{GIVEN}host\n" + "x" * 1000
    code = {400: "INVALID_PARAMETER_VALUE", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}[status]
    body = json.dumps({"error_code": code, "message": said}) if form == "json" else said
    sweep = make_sweep(tmp_path / "sweep", "a", [["seed=1"]], status="failed")
    with answering(status, body) as uri, pytest.raises(TrackingUnavailable) as caught:
        begin_sweep(sweep, Store(uri, "a", 2))
    line = str(caught.value)
    assert line.isprintable()
    assert "Zq9Secret" not in line
    assert len(line) < 900
    if status != 400:
        assert f"set {USERNAME} and {PASSWORD}" in line
    later = f"`python -m nst.tracking FOLDER --uri {uri} --experiment a` (with {PASSWORD} set)"
    assert line.endswith(f"; nothing is lost: once it answers, {later} logs what is missing")


def test_tables_of_another_version_name_the_command_that_mends_them(tmp_path: Path) -> None:
    path = tmp_path / ("long name " * 20) / "mlflow.db"
    store = Store(f"sqlite:///{path}", "a", 2)
    sweep = make_sweep(tmp_path / "sweep", "a", [["seed=1"]], status="failed")
    begin_sweep(sweep, store)
    other = tmp_path / "mlflow.db"
    path.rename(other)
    with closing(sqlite3.connect(other)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    other = other.rename(path.with_name("old.db"))
    with pytest.raises(TrackingUnavailable) as caught:
        begin_sweep(sweep, Store(f"sqlite:///{other}", "a", 2))
    assert f"`mlflow db upgrade 'sqlite:///{other}'`" in str(caught.value)


@pytest.mark.e2e
def test_tables_of_a_new_database_are_kept_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NST_CACHE", str(tmp_path / "cache"))
    made, make = list[str](), utils._initialize_tables

    def initialize(engine: Engine) -> None:
        made.append(str(engine.url))
        make(engine)

    monkeypatch.setattr(utils, "_initialize_tables", initialize)

    def opened(name: str) -> int:
        with connect(Store(f"sqlite:///{tmp_path}/{name}.db", "a", 2)) as client:
            assert [each.name for each in client.search_experiments()] == ["Default"]
        return len(made)

    assert (opened("a"), opened("b")) == (1, 1)
    [kept] = (tmp_path / "cache").iterdir()
    with closing(sqlite3.connect(kept)) as database:
        assert database.execute("SELECT * FROM experiments").fetchall() == []
    for damaged in (kept.read_bytes()[:5000], b""):
        kept.write_bytes(damaged)
        before = len(made)
        assert (opened(f"c{before}"), opened(f"d{before}")) == (before + 1, before + 1)


@pytest.mark.parametrize("uri", ["sqlite:///a b/m.db", "file:a%20b", "file:./a%20b", "a b", "./a b"])
def test_a_relative_store_is_the_same_from_everywhere(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = make_sweep(tmp_path / "sweep", "a", [["seed=1"]], status="failed")
    store = Store(absolute_uri(uri), "a", 2)
    begin_sweep(sweep, store)
    monkeypatch.chdir("/")
    assert close_interrupted(sweep, store) == 1
    assert absolute_uri(store.uri) == store.uri
    assert (tmp_path / "a b").is_dir()
    assert "mlflow ui --host 127.0.0.1 --backend-store-uri " in run_url(sweep, store)


@pytest.mark.parametrize(
    ("given", "left", "name", "password"),
    [
        (f"tracking.uri=http://{GIVEN}host:5000/x", "tracking.uri=http://host:5000/x", NAME, SECRET),
        ("+tracking.uri='https://a:b@c@host'", "+tracking.uri='https://host'", "a", "b@c"),
        ("postgresql://a:b=c@host/db?sslmode=require", "postgresql://host/db?sslmode=require", "a", "b=c"),
        ("http://a@host", "http://host", "a", None),
        ("http://host:5000", "http://host:5000", None, None),
        ("sqlite:////a@b/m.db", "sqlite:////a@b/m.db", None, None),
    ],
)
def test_credentials_are_taken_out(
    given: str, left: str, name: str | None, password: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (USERNAME, PASSWORD):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    assert strip_credentials(given) == left
    assert (os.environ.get(USERNAME), os.environ.get(PASSWORD)) == (name, password)


def test_a_database_has_its_credentials_in_its_address_on_the_way_to_mlflow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(USERNAME, "a")
    monkeypatch.setenv(PASSWORD, "b=c/d")
    database = "postgresql+psycopg2://host/db?sslmode=require"
    assert with_credentials(database) == database.replace("host", "a:b%3Dc%2Fd@host")
    for uri in ("http://host", "sqlite:////a/b.db", "file:///a/b"):
        assert with_credentials(uri) == uri


@pytest.mark.parametrize(
    "given",
    [
        "tracking.uri=http://a:b/Zq9Secret@host",
        "tracking.uri=http://host:5000?token=Zq9Secret",
        "tracking.uri='http://host/#Zq9Secret'",
        "postgresql://host/db?sslmode=require&password=Zq9Secret",
    ],
)
def test_what_cannot_be_taken_out_is_refused_unseen(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NstError) as caught:
        strip_credentials(given)
    assert "Zq9Secret" not in str(caught.value)
    assert "host" in str(caught.value)
    assert str(caught.value).isprintable()


def test_settings_with_credentials_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NstError, match="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"):
        check_address(f"http://{GIVEN}host")
    arguments = [*SMALL, "tracking.uri=${oc.env:MINE}", "hydra.run.dir=run"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINE", f"http://{GIVEN}host")
    ended = driven(arguments, monkeypatch)
    assert ended.code == 2
    assert "Zq9Secret" not in ended.err
    assert ended.err.startswith("error: tracking.uri=http://…@host: a name or a password")
    assert not list(tmp_path.iterdir())


def assert_nowhere(*folders: Path) -> None:
    """Neither name nor password is in a file below the folders, or in a name of one."""
    files = [path for folder in folders for path in folder.rglob("*")]
    assert len(files) > 20
    for path in files:
        content = str(path).encode() + (path.read_bytes() if path.is_file() else b"")
        for word in (b"Zq9Secret", NAME.encode()):
            assert word not in content, path


@pytest.mark.e2e
@pytest.mark.parametrize("way", ["workers", "environment"])
def test_credentials_reach_the_server_and_nothing_else(
    way: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "100")  # a busy machine is slow, and not gone
    relay = Relay(server.port)
    word = base64.b64encode(f"{NAME}:{SECRET}".encode()).decode()
    relay.authorization = f"Basic {word}"
    uri = relay.uri.replace("://", f"://{GIVEN}")
    arguments = [
        "-m",
        *SMALL,
        "style_layers=conv1_1",
        "optimizer=adam",
        "seed=0,1",
        f"tracking.experiment={way}",
        "tracking.canvas_steps=2",
        "hydra.sweep.dir=sweep",
    ]
    if way == "workers":
        arguments += [f"tracking.uri={uri}", "hydra.launcher.devices=[cpu]"]
        ended = command(tmp_path, *arguments)
    else:
        ended = command(tmp_path, *arguments, MLFLOW_TRACKING_URI=uri)
    assert (ended.code, ended.errors) == (0, []), ended.err
    found = re.search(r"^MLflow  (\S+)", ended.err, re.MULTILINE)
    assert found
    assert found[1].startswith(f"{relay.uri}/#/experiments/"), ended.err
    for said in (ended.out, ended.err):
        assert "Zq9Secret" not in said
        assert NAME not in said
    client = MlflowClient(server.uri)
    runs = client.search_runs([client.get_experiment_by_name(way).experiment_id])
    assert [run.info.status for run in runs] == 3 * ["FINISHED"]
    assert_nowhere(tmp_path, server._folder)

    # Later they come from the environment, and that is said where they are missing.
    (tmp_path / "sweep/0/mlflow.json").unlink()
    later = ["-m", "nst.tracking", "sweep", "--uri", relay.uri, "--experiment", way]
    refused, logged = (
        python_later(later, tmp_path, known) for known in ({}, {USERNAME: NAME, PASSWORD: SECRET})
    )
    assert f"set {USERNAME} and {PASSWORD}" in refused
    assert "sweep: 1 logged, 1 there already" in logged
    assert_nowhere(tmp_path, server._folder)
    relay.close()


def python_later(arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What a command says."""
    from support.forked import python

    known = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    _, out, err = python(arguments, folder, known)
    assert "Zq9Secret" not in out + err
    return out + err
