"""Stores that are there at once, and a server."""

from collections.abc import Iterator

import pytest
from support.mlflow_server import Server, serving
from support.mlflow_tables import copied


@pytest.fixture(scope="session", autouse=True)
def tables() -> Iterator[None]:
    with copied():
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all that is told apart by its experiment."""
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server
