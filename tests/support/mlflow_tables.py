"""The tables of a new MLflow database: made by MLflow once for all tests, and copied from then on.

MLflow makes them by way of each of its sixty migrations, which takes longer than most tests.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock
from mlflow.store.db import utils
from sqlalchemy import Engine

FOLDER = "NST_TEST_TABLES"  # of what is copied; where it is not set, nothing is
MIGRATE = utils._initialize_tables


def copy(database: Path) -> None:
    """Write a new SQLite database that has all of MLflow's tables, if one was made before."""
    made = _made()
    if made and made.exists():
        _copy(made, database)


@contextmanager
def copied() -> Iterator[None]:
    """Inside, and in what forks there, new SQLite databases of this process are copies."""
    utils._initialize_tables = _initialize
    try:
        yield
    finally:
        utils._initialize_tables = MIGRATE


def made_anew() -> None:
    """From now on they are made as MLflow makes them, in this process."""
    utils._initialize_tables = MIGRATE


def _made() -> Path | None:
    folder = os.environ.get(FOLDER)
    return Path(folder, "mlflow.db") if folder else None


def _initialize(engine: Engine) -> None:
    made = _made()
    if made is None or engine.url.get_backend_name() != "sqlite" or not engine.url.database:
        return MIGRATE(engine)
    with FileLock(f"{made}.lock"):
        if not made.exists():
            MIGRATE(engine)
            part = made.with_suffix(f".{os.getpid()}")
            _copy(Path(engine.url.database), part)
            part.rename(made)
            return None
    _copy(made, Path(engine.url.database))
    return None


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
