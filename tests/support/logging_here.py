"""The logger in the process of a test, which may put other functions in its place; it has MLflow already."""

from pathlib import Path

from nst.tracking.client import Store
from nst.tracking.process import Act


class LoggingHere:
    def __init__(self, store: Store | None = None) -> None:
        pass

    def start(self) -> None:
        pass

    def perform(self, act: Act, folder: Path, store: Store) -> None:
        act(folder, store)
