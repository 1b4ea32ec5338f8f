"""What every test needs before torch is imported, and which tests are end to end."""

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

# Small tensors gain nothing by a pool of threads, and each worker of pytest-xdist would have one of its own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Many tests start processes, and each would compile PyTorch and MLflow anew where bytecode is not kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Under nohup, and behind a shell, they are ignored, and every process that a test starts would ignore them.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

MINE = "NST_TEST_TABLES" not in os.environ  # else this is a worker of pytest-xdist
if MINE:
    os.environ["NST_TEST_TABLES"] = tempfile.mkdtemp(prefix="nst-tables-")  # support/mlflow_tables.py

E2E = Path(__file__).parent / "e2e"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without what is end to end, what that imports is not imported."""
    return True if collection_path == E2E and "not e2e" in config.option.markexpr else None


@pytest.hookimpl(tryfirst=True)  # before `-m` is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if E2E in item.path.parents:
            item.add_marker(pytest.mark.e2e)


def pytest_unconfigure() -> None:
    if MINE:
        shutil.rmtree(os.environ["NST_TEST_TABLES"], ignore_errors=True)
