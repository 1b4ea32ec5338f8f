"""Tracking beside painting: on a thread of its own, and never in its way."""

import logging
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nst import tracking
from nst.config import TrackingConfig, TrackingName
from nst.errors import NstError
from nst.store import Store

log = logging.getLogger(__name__)


class Logbook:
    """Logs runs to a store in the order they are given, and complains once if that fails.

    After a failure the store is left alone for the rest of this process: everything is on disk, and
    `python -m nst.tracking FOLDER` logs it later.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._failed = False
        self._thread = ThreadPoolExecutor(1, "logbook")

    def begin(self, sweep: Path) -> None:
        """Open the parent run of a sweep."""
        self._later(tracking.begin_sweep, sweep)

    def log(self, run: Path) -> None:
        """Log a run directory."""
        self._later(tracking.log_run, run)

    def end(self, sweep: Path) -> None:
        """Log what a sweep's parent run carries, and close it."""
        self._later(tracking.end_sweep, sweep)

    def wait(self) -> None:
        """Return when all that was given is logged, or given up."""
        self._thread.submit(lambda: None).result()

    def where(self, folder: Path) -> str:
        """A line that says how to look at a folder in MLflow."""
        if self._failed:
            return (
                f"MLflow  not logged; later: python -m nst.tracking {shlex.quote(str(folder))} "
                f"--uri {shlex.quote(self.store.uri)} --experiment {shlex.quote(self.store.experiment)}"
            )
        return f"MLflow  {tracking.run_url(folder, self.store)}"

    def _later(self, act: Callable[[Path, Store], str], folder: Path) -> None:
        def attempt() -> None:
            if self._failed:
                return
            try:
                act(folder, self.store)
            except NstError as error:
                self._failed = True
                log.warning("%s", error)
            except Exception as error:  # a view of the results must not cost the results
                self._failed = True
                log.warning("tracking.uri=%s: %s: %s", self.store.uri, type(error).__name__, error)

        self._thread.submit(attempt)


def logbook(config: TrackingConfig) -> Logbook | None:
    """The logbook of this process for the store that `config` names; None for `tracking=none`."""
    if config.name is TrackingName.none:
        return None
    uri = config.uri
    if not uri:
        raise NstError(
            "tracking.uri=null: tracking=mlflow needs a store; give sqlite:///mlflow.db or "
            "http://HOST:PORT, or tracking=none"
        )
    scheme, _, path = uri.partition(":///")
    if scheme == "sqlite":
        uri = f"sqlite:///{Path(path).resolve()}"
    return _logbook(Store(uri, config.experiment, config.canvas_steps))


@cache
def _logbook(store: Store) -> Logbook:
    return Logbook(store)


def tracking_of(composed: DictConfig) -> TrackingConfig:
    """The tracking part of a composed config."""
    found: Any = OmegaConf.to_object(composed.tracking)
    return found  # type: ignore[no-any-return]
