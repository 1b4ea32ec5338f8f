"""Where runs are tracked: an MLflow store, in a database or behind a server."""

import logging
import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from nst.errors import NstError
from nst.files import write_whole

if TYPE_CHECKING:  # importing MLflow takes four seconds, so it waits for the first call
    from mlflow.tracking import MlflowClient

LOCK_SECONDS = 30

# MLflow's own bounds are 120 s, 8 times, and as long as a Retry-After header says; it sends large files in
# parts, past the server and with no bound at all; and it prints two lines, for two requests more, when a
# run ends. Whoever sets these variables is obeyed.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "12",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass(frozen=True)
class Store:
    """Where runs are tracked, and how much of them.

    `uri` is `sqlite:////absolute/mlflow.db` or `http://host:port`; `canvas_steps` is how many
    frames of each canvas go on its slider, at least the first and the last.
    """

    uri: str
    experiment: str
    canvas_steps: int


class TrackingUnavailable(NstError):  # noqa: N818 - what it says, not that it is an error
    """The store did not answer, or did not take what it was given. Nothing on disk is lost."""


@contextmanager
def asking(store: Store) -> Iterator["MlflowClient"]:
    """Yield a client of the store; turn whatever the store says no with into one line."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    # What goes wrong is raised, in our words; schema migrations and retries are no one's news.
    for name in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield _client(store)
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as refusal:
        reason = " ".join(str(refusal).split())
        if len(reason) > 300:
            reason = f"{reason[:150]} … {reason[-150:]}"
        options = f"--uri {shlex.quote(store.uri)} --experiment {shlex.quote(store.experiment)}"
        raise TrackingUnavailable(
            f"tracking.uri={store.uri}: {reason}; nothing is lost: once it answers, "
            f"`python -m nst.tracking FOLDER {options}` logs what is missing"
        ) from refusal


def _client(store: Store) -> "MlflowClient":
    from mlflow.tracking import MlflowClient

    path = sqlite_path(store)
    if path is None:
        return MlflowClient(store.uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes must not both create the tables of a new database, and one that is killed while
    # it does must not leave half of them: MLflow does not get on with such a database.
    with FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
        if not path.exists():
            with write_whole(path) as new:
                MlflowClient(f"sqlite:///{new}").search_experiments()
        # MLflow retries a file that is no database for 100 s; SQLite says so at once.
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as database:
            database.execute("PRAGMA schema_version")
        return MlflowClient(store.uri)


def sqlite_path(store: Store) -> Path | None:
    """The file of a store that is one."""
    scheme, _, path = store.uri.partition(":///")
    return Path(path).resolve() if scheme == "sqlite" else None


def open_experiment(client: "MlflowClient", store: Store) -> str:
    """The id of the store's experiment, which is made if there is none.

    Raises `TrackingUnavailable` if it was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(store.experiment)
    if found is None:
        path = sqlite_path(store)
        location = (path.parent / "mlartifacts").as_uri() if path else None
        try:
            return client.create_experiment(store.experiment, location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return open_experiment(client, store)  # another process was faster
    if found.lifecycle_stage != "active":
        raise TrackingUnavailable(
            f"tracking.experiment={store.experiment}: deleted in {store.uri}; give another name, "
            f"or bring it back: mlflow experiments restore -x {found.experiment_id}"
        )
    return str(found.experiment_id)
