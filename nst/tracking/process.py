"""The logger in a process of its own: MLflow's import is seconds of Python, and the painter's would wait."""

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock

from nst.errors import NstError
from nst.io.credentials import variables_needed
from nst.io.signals import SIGNALS
from nst.tracking import logger
from nst.tracking.client import Store, TrackingUnavailable, import_mlflow, log_command

Act = Callable[[Path, Store], object]

SERVE = "from nst.tracking.process import serve; serve()"


class LoggingProcess:
    """Does what the logger does, one act after the other, in a process that it starts.

    That process leaves signals to this one, and ends when this one does, however that ends: then nobody
    holds the other end of its pipe. An act that it is doing then it does to its end.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._stopped = False
        atexit.register(self.stop)

    def start(self) -> None:
        """Start it, if it is not there: it imports MLflow meanwhile. If it cannot be, `perform` says so."""
        with suppress(OSError):
            self._connected()

    def perform(self, act: Act, folder: Path) -> None:
        """Do `act`, a function of `nst.tracking.logger`, there.

        Raises:
            TrackingUnavailable: the store did not answer, or that process died.
            NstError: this folder cannot be logged.
        """
        pipe = self._connected()
        try:
            pipe.send((act.__name__, folder.absolute()))
            said: tuple[type[NstError], str] | None = pipe.recv()
        except (EOFError, OSError) as error:
            if self._stopped:
                return
            later = f"`{log_command(self.store, 'FOLDER')}`{variables_needed()} logs what is missing"
            raise TrackingUnavailable(
                f"tracking.uri={self.store.uri}: the process that logs died (exit code {self._buried()}); "
                f"nothing is lost: {later}"
            ) from error
        if said:
            kind, text = said
            raise kind(text)

    def stop(self) -> None:
        """End it for good, whatever it does."""
        self._stopped = True
        if self._process:
            self._process.kill()
            self._process.wait()

    def _connected(self) -> Connection:
        with self._lock:
            if self._pipe is None:
                self._pipe = self._begun()
            return self._pipe

    def _begun(self) -> Connection:
        """The pipe to a new process."""
        ours, theirs = Pipe()
        known = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
        # What is blocked here is blocked there, from its first moment: Ctrl-C is for this process to answer.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", SERVE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=known,
                pass_fds=[theirs.fileno()],
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        ours.send(self.store)
        return ours

    def _buried(self) -> int:
        """The exit code of a process that died; the next act starts another."""
        with self._lock:
            assert self._process
            assert self._pipe
            self._pipe.close()
            self._pipe = None
            self._process.kill()
            return self._process.wait()


def serve() -> None:
    """Do what comes through the pipe whose number is the argument, until it is closed."""
    pipe = Connection(int(sys.argv[1]))
    try:
        store = pipe.recv()
        import_mlflow(store)
        while True:
            name, folder = pipe.recv()
            pipe.send(_outcome(name, folder, store))
    except (EOFError, OSError):
        pass


def _outcome(name: str, folder: Path, store: Store) -> tuple[type[NstError], str] | None:
    """What is to be raised."""
    try:
        getattr(logger, name)(folder, store)
    except TrackingUnavailable as error:
        return TrackingUnavailable, str(error)
    except NstError as error:
        return NstError, str(error)
    except Exception as error:  # a view of the results must not cost the results
        return TrackingUnavailable, f"tracking.uri={store.uri}: {type(error).__name__}: {error}"
    return None
