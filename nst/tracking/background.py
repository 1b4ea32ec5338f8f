"""Tracking beside painting: on a thread of its own, and never in its way."""

import atexit
import logging
import shlex
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from threading import Condition, Thread
from typing import Any, Protocol

from omegaconf import DictConfig, OmegaConf

from nst.config.schema import TrackingConfig, TrackingName
from nst.errors import NstError
from nst.io.credentials import check_address, variables_needed, without_secrets
from nst.io.text import escape_unprintable
from nst.runs.record import RunRecord, now
from nst.tracking import logger
from nst.tracking.client import Store, TrackingUnavailable, absolute_uri, log_command
from nst.tracking.process import Act, LoggingProcess
from nst.tracking.tracked import TrackedRun

log = logging.getLogger(__name__)

# MLflow bounds each wait for a byte, not a whole answer: a server may send one byte after the other.
QUIET_SECONDS = 300  # without anything logged, after which the store is given up
ABORT_SECONDS = 10
LOOK_SECONDS = 20  # between looks at what is being painted


class Performer(Protocol):
    """Who does what the logger does, with a store."""

    store: Store

    def start(self) -> None:
        """Get ready meanwhile, if there is anything to get ready."""

    def perform(self, act: Act, folder: Path) -> None:
        """Do an act; raises what it raises."""


class BackgroundTracker:
    """Logs runs to a store in the order they are given, and complains once if that fails.

    A store that does not answer is left alone, but for one more attempt when a sweep ends, which logs
    all that is missing. Everything is on disk, and `python -m nst.tracking FOLDER` logs it later.
    """

    def __init__(self, performer: Performer) -> None:
        self.store, self._performer = performer.store, performer
        self._failed = False  # the store does not answer
        self._asked_again = False
        self._given_up = False
        self._complained = False
        self._changed = Condition()
        self._todo = deque[tuple[Act, Path]]()  # the first is being done
        self._done = 0
        self._watched = dict[Path, str]()  # what is or will be painted, since when
        self._looked = time.monotonic()
        # A daemon, because a process has to end even while a store keeps the thread waiting.
        Thread(target=self._work, name="tracking", daemon=True).start()
        atexit.register(self.wait)

    def start(self) -> None:
        """Let who performs get ready meanwhile."""
        self._performer.start()

    def begin(self, sweep: Path) -> None:
        """Open the parent run of a sweep."""
        self._later(logger.begin_sweep, sweep)

    def watch(self, runs: Iterable[Path]) -> None:
        """Log what there is of these run directories now and then while they are painted, until `log`."""
        self.start()
        with self._changed:
            self._watched |= dict.fromkeys(runs, now())
            self._changed.notify_all()

    def log(self, run: Path) -> None:
        """Log a run directory."""
        self._watched.pop(run, None)
        self._later(logger.log_run, run)

    def end(self, sweep: Path) -> None:
        """Log what is missing of a sweep's cells and what its parent run carries, and close that."""
        self._later(logger.end_sweep, sweep)

    def close(self, sweep: Path) -> None:
        """Close what an earlier process, which is gone, left open of a sweep."""
        self._later(logger.close_interrupted, sweep)

    def abort(self, sweeps: Sequence[Path]) -> None:
        """Forget what is still to be logged, close the sweeps as killed, and do not wait long for it."""
        self._watched.clear()
        with self._changed:
            while len(self._todo) > 1:
                self._todo.pop()
        for sweep in sweeps:
            self.close(sweep)
        with self._changed:
            self._changed.wait_for(lambda: not self._todo, ABORT_SECONDS)
            self._given_up = True

    def wait(self, went_on: Callable[[], object] = lambda: None) -> None:
        """Return when all that was given is logged, or given up; calls `went_on` now and then until it is."""
        while self._todo and not self._given_up:
            if self._goes_on():
                went_on()
            else:
                self._given_up = True
                later = f"`{log_command(self.store, 'FOLDER')}`{variables_needed()} logs what is missing"
                self._fail(
                    f"tracking.uri={self.store.uri}: nothing could be logged for {QUIET_SECONDS} s; nothing "
                    f"is lost: once it answers, {later}"
                )

    def where(self, folder: Path) -> str:
        """A line that says how to look at a folder in MLflow."""
        if self._failed or not (folder / TrackedRun.NAME).is_file():
            command = log_command(self.store, shlex.quote(str(folder)))
            return f"MLflow  not logged; later: {command}{variables_needed()}"
        return f"MLflow  {logger.run_url(folder, self.store)}"

    def _later(self, act: Act, folder: Path) -> None:
        with self._changed:
            self._todo.append((act, folder))
            self._changed.notify_all()

    def _goes_on(self) -> bool:
        """Wait for something to be done; False if that takes too long."""
        with self._changed:
            done = self._done
            return self._changed.wait_for(lambda: not self._todo or self._done > done, QUIET_SECONDS)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._todo and (left := self._until_look()) != 0:
                    self._changed.wait(left)
                act, folder = self._todo[0] if self._todo else (None, Path())
            if self._until_look() == 0:
                self._look()
            if act is None:
                continue
            self._attempt(act, folder)
            with self._changed:
                self._todo.popleft()
                self._done += 1
                self._changed.notify_all()

    def _until_look(self) -> float | None:
        """Seconds until the next look at what is being painted; None if nothing is."""
        left = LOOK_SECONDS - (time.monotonic() - self._looked)
        return max(0.0, left) if self._watched else None

    def _look(self) -> None:
        """Log what there is so far of what is being painted."""
        for run, since in list(self._watched.items()):
            begun = RunRecord.read(run, lenient=True).started >= since  # not what a killed process left
            if begun and run in self._watched:
                self._attempt(logger.watch_run, run)
        self._looked = time.monotonic()

    def _attempt(self, act: Act, folder: Path) -> None:
        if self._given_up or (self._failed and (self._asked_again or act is not logger.end_sweep)):
            return
        self._asked_again = self._failed
        try:
            self._performer.perform(act, folder)
        except TrackingUnavailable as error:
            self._fail(str(error))
        except NstError as error:  # it is of this folder, and the others can do without it
            if act is not logger.watch_run:  # which may see a run end, and is followed by `log_run`
                self._complain(str(error))
        except Exception as error:  # a view of the results must not cost the results
            self._fail(f"tracking.uri={self.store.uri}: {type(error).__name__}: {error}")
        else:
            if self._failed and not self._given_up:
                self._failed = False
                log.info("tracking.uri=%s: answers again, and has all of %s", self.store.uri, folder)

    def _fail(self, reason: str) -> None:
        self._failed = True
        self._complain(reason)

    def _complain(self, reason: str) -> None:
        if not self._complained:
            self._complained = True
            log.warning("%s", without_secrets(escape_unprintable(reason)))


def tracker_of(config: TrackingConfig) -> BackgroundTracker | None:
    """The background tracker of this process for the store that `config` names; None for `tracking=none`."""
    if config.name is TrackingName.none:
        return None
    uri = config.uri
    if not uri:
        raise NstError(
            f"tracking.uri={uri or 'null'}: tracking=mlflow needs a store; give sqlite:///mlflow.db or "
            "http://HOST:PORT, or tracking=none"
        )
    check_address(uri)
    return _logbook(Store(absolute_uri(uri), config.experiment, config.canvas_steps))


@cache
def _logbook(store: Store) -> BackgroundTracker:
    return BackgroundTracker(LoggingProcess(store))


def tracking_of(composed: DictConfig) -> TrackingConfig:
    """The tracking part of a composed config."""
    found: Any = OmegaConf.to_object(composed.tracking)
    return found  # type: ignore[no-any-return]
