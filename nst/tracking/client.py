"""Where runs are tracked: an MLflow store, in a file, in a folder, in a database or behind a server."""

import logging
import os
import re
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from filelock import FileLock

from nst.errors import NstError
from nst.io.credentials import PASSWORD, USERNAME, variables_needed, with_credentials, without_secrets
from nst.io.files import atomic_write, cache_folder
from nst.io.garbage import importing
from nst.io.text import escape_unprintable

if TYPE_CHECKING:  # importing MLflow takes four seconds, so it waits for the first call
    from mlflow.tracking import MlflowClient

LOCK_SECONDS = 30

# MLflow's own bounds are 120 s, 8 times, and as long as a Retry-After header says; it sends large files in
# parts, past the server and with no bound at all; it prints two lines, for two requests more, when a run
# ends; it refuses a store that is a folder, which somebody has asked for; and it tells its makers how it is
# used. Whoever sets these is obeyed.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "12",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True)
class Store:
    """Where runs are tracked, and how much of them.

    `uri` is `sqlite:////absolute/mlflow.db`, `file:///absolute/mlruns` or `http://host:port`, without
    credentials; `canvas_steps` is how many frames of each canvas go on its slider, at least the first and
    the last.
    """

    uri: str
    experiment: str
    canvas_steps: int


class TrackingUnavailable(NstError):  # noqa: N818 - what it says, not that it is an error
    """The store did not answer, or did not take what it was given. Nothing on disk is lost."""


@contextmanager
def connect(store: Store) -> Iterator["MlflowClient"]:
    """Yield a client of the store; turn whatever the store says no with into one line."""
    import_mlflow(store)
    from google.protobuf.json_format import ParseError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    # What goes wrong is raised, in our words; schema migrations and retries are no one's news.
    for name in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield _client(store)
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ParseError, _NotMlflow) as refusal:
        raise TrackingUnavailable(
            f"tracking.uri={store.uri}: {_reason(refusal, store)}; nothing is lost: once it answers, "
            f"`{log_command(store, 'FOLDER')}`{variables_needed()} logs what is missing"
        ) from refusal


def import_mlflow(store: Store) -> None:
    """Import what a client of the store needs, which takes seconds."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with importing():
        import mlflow.tracking
        import sqlalchemy.exc  # noqa: F401

        if _is_sqlite(store.uri):
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  # which the client would import


def log_command(store: Store, folder: str) -> str:
    """The command that logs what of a folder is missing."""
    options = f"--uri {shlex.quote(store.uri)} --experiment {shlex.quote(store.experiment)}"
    return escape_unprintable(f"python -m nst.tracking {folder} {options}")


class _NotMlflow(Exception):  # noqa: N818 - what it says
    """What answered is no MLflow server; the message is what it said."""


def checked_id(id_: str) -> str:
    """The id of an experiment or a run, if it is one: what is no MLflow server may answer anything."""
    if not re.fullmatch(r"[\w.-]+", id_, re.ASCII):
        raise _NotMlflow(f"id {id_!r}")
    return id_


def _reason(refusal: BaseException, store: Store) -> str:
    """What a store said no with, in words that may be shown; whatever it takes to mend it is whole."""
    said = without_secrets(escape_unprintable(" ".join(str(refusal).split())))
    status = refusal.get_http_status_code() if hasattr(refusal, "get_http_status_code") else None
    if "out-of-date database schema" in said:
        uri = shlex.quote(escape_unprintable(store.uri))
        return (
            "its tables are of another MLflow than the one here; make a copy of it, then "
            f"`mlflow db upgrade {uri}` brings older ones up to date, and newer "
            "ones need that newer MLflow here"
        )
    # MLflow's own refusals are JSON, and only then is there no "Response body".
    strange = status == 404 and "Response body: " in said
    strange |= "not in a valid JSON format" in said or "ParseError" in type(refusal).__name__
    if strange or isinstance(refusal, _NotMlflow):
        _, found, body = said.partition("Response body: ")
        return f"not an MLflow server, by what it answered ({_short(body if found else said, 100)})"
    if status in (401, 403):
        return (
            f"{_short(said, 150)}; set {USERNAME} and {PASSWORD}, or give them in the address: --uri "
            "http://NAME:PASSWORD@HOST here, tracking.uri=… when painting"
        )
    return _short(said, 300)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


def _client(store: Store) -> "MlflowClient":
    from mlflow.tracking import MlflowClient

    path = local_path(store.uri)
    if path is None:
        return MlflowClient(with_credentials(store.uri))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes must not both create the tables of a new database, and one that is killed while
    # it does must not leave half of them: MLflow does not get on with such a database.
    with _alone(path):
        if not _is_sqlite(store.uri):
            return MlflowClient(store.uri)
        if not path.exists():
            with atomic_write(path) as new:
                _make_tables(new)
        # MLflow retries a file that is no database for 100 s; SQLite says so at once.
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as database:
            database.execute("PRAGMA schema_version")
        return MlflowClient(store.uri)


def _make_tables(new: Path) -> None:
    """Make of an empty file a database with MLflow's tables.

    MLflow makes them by way of sixty migrations, which takes seconds, so they are kept for the next one.
    """
    from mlflow import MlflowClient, __version__

    kept = cache_folder() / f"mlflow-{__version__}.db"
    with suppress(sqlite3.Error):  # it is not there, or damaged
        _copy_tables(kept, new)
        return
    MlflowClient(f"sqlite:///{new}").search_experiments()
    with suppress(OSError, sqlite3.Error):  # without a place for it, the next one takes as long
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(kept) as temporary:
            _copy_tables(new, temporary)


def _copy_tables(source: Path, target: Path) -> None:
    """Copy a new database; raises sqlite3.Error if there is none, or it is damaged."""
    read_only = f"{source.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(read_only, uri=True)) as old, closing(sqlite3.connect(target)) as new:
        if old.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError(f"{source}: damaged")
        old.backup(new)
        # MLflow makes its first experiment anew: it says where the artifacts of this database are.
        new.execute("DELETE FROM experiments")
        new.commit()


def _alone(path: Path | None) -> AbstractContextManager[object]:
    """Inside, no other process makes anything of the store that is this file or folder."""
    return FileLock(f"{path}.lock", timeout=LOCK_SECONDS) if path else nullcontext()


def _is_sqlite(uri: str) -> bool:
    return uri.startswith("sqlite:///")


def local_path(uri: str) -> Path | None:
    """The file or the folder of a store that is one: of `sqlite:///FILE`, `file:FOLDER` or a bare FOLDER."""
    if _is_sqlite(uri):
        return Path(uri.removeprefix("sqlite:///")).resolve()
    scheme, colon, path = uri.partition(":")
    if colon and scheme == "file":
        return Path(unquote(path.removeprefix("//"))).resolve()
    return None if re.match(r"[\w+.-]+:", uri) else Path(uri).resolve()


def absolute_uri(uri: str) -> str:
    """The same address from whatever folder it is looked at; a relative one counts from this one."""
    path = local_path(uri)
    if path is None:
        return uri
    return f"sqlite:///{path}" if _is_sqlite(uri) else path.as_uri()


def open_experiment(client: "MlflowClient", store: Store) -> str:
    """The id of the store's experiment, which is made if there is none.

    Raises `TrackingUnavailable` if it was deleted.
    """
    from mlflow.exceptions import MlflowException

    path = local_path(store.uri)
    with _alone(path):  # a folder has no constraint that would keep two processes from making it both
        found = client.get_experiment_by_name(store.experiment)
        if found is None:
            location = (path.parent / "mlartifacts").as_uri() if path and _is_sqlite(store.uri) else None
            try:
                return checked_id(client.create_experiment(store.experiment, location))
            except MlflowException as error:
                found = client.get_experiment_by_name(store.experiment)
                if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                    raise  # else another process was faster
    experiment_id = checked_id(found.experiment_id)
    if found.lifecycle_stage not in ("active", "deleted"):
        raise _NotMlflow(f"lifecycle stage {found.lifecycle_stage!r}")
    if found.lifecycle_stage == "deleted":
        raise TrackingUnavailable(
            f"tracking.experiment={store.experiment}: deleted in {store.uri}; give another name, "
            f"or bring it back: mlflow experiments restore -x {experiment_id}"
        )
    return experiment_id
