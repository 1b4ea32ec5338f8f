"""The logger in the process of a test, which may put other functions in its place; it has MLflow already."""

from pathlib import Path

from nst.tracking.client import Store
from nst.tracking.process import Act


class LoggingHere:
    def __init__(self, store: Store) -> None:
        self.store = store

    def start(self) -> None:
        pass

    def perform(self, act: Act, folder: Path) -> None:
        act(folder, self.store)


class LoggingNothing(LoggingHere):
    """What it complained of would be in a later test."""

    def perform(self, act: Act, folder: Path) -> None:
        pass
