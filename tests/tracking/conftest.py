"""Stores that are there at once."""

from collections.abc import Iterator

import pytest
from support.mlflow_tables import copied


@pytest.fixture(scope="session", autouse=True)
def tables() -> Iterator[None]:
    with copied():
        yield
