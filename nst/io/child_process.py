"""A process beside this one that does what it is told: seconds of Python, which threads would wait for."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any, TypeVar

from nst.errors import NstError
from nst.io.signals import block_signals

T = TypeVar("T")

SERVE = "from nst.io.child_process import serve; serve()"


class ChildDied(NstError):  # noqa: N818 - a state of the child
    """The process is gone, and with it what it was doing."""

    def __init__(self, code: int) -> None:
        super().__init__(f"a process of this one died (exit code {code})")
        self.code = code


class ChildProcess:
    """Calls functions, one after the other, in a process that it starts for the first.

    That process leaves signals to this one, and ends when this one does, however that ends: then nobody
    holds the other end of its pipe. A function that it is in then it does to its end.

    Args:
        name: that a list of processes shows, behind its command.
        prepare: a function that it calls first, with its arguments.
        niceness: how far behind other processes it stands, as `nice` takes it.
    """

    def __init__(self, name: str, *prepare: Any, niceness: int = 0) -> None:
        self._name, self._prepare, self._niceness = name, prepare, niceness
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """Of the process; None if it was not started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it, if it is not there, to prepare meanwhile. If it cannot be, `call` says so."""
        with suppress(OSError, ChildDied):
            self._connected()

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """What a function of a module returns there, or raises.

        Raises:
            ChildDied: the process did, meanwhile, and the next call starts another; or it was stopped.
            OSError: it cannot be started.
        """
        pipe = self._connected()
        try:
            pipe.send((function, *args))
            raised, outcome = pipe.recv()
        except (EOFError, OSError) as error:
            raise ChildDied(self._bury()) from error
        if raised:
            raise outcome
        returned: T = outcome
        return returned

    def stop(self) -> None:
        """End it at once and for good, whatever it does."""
        with self._lock:
            self._stopped = True
            if self._process:
                self._process.kill()
                self._process.wait()

    def _connected(self) -> Connection:
        with self._lock:
            if self._stopped:
                raise ChildDied(-signal.SIGKILL)
            if self._pipe is None:
                self._pipe = self._begun()
            return self._pipe

    def _begun(self) -> Connection:
        """The pipe to a new process."""
        ours, theirs = Pipe()
        known = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
        given = [str(theirs.fileno()), str(self._niceness), self._name]
        with block_signals():
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", SERVE, *given],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=known,
                pass_fds=[theirs.fileno()],
            )
        theirs.close()
        ours.send(self._prepare)
        return ours

    def _bury(self) -> int:
        """The exit code of a process that died."""
        with self._lock:
            assert self._process
            assert self._pipe
            self._pipe.close()
            self._pipe = None
            self._process.kill()
            return self._process.wait()


def serve() -> None:
    """Do what comes through the pipe whose number is the first argument, until it is closed."""
    pipe = Connection(int(sys.argv[1]))
    os.nice(int(sys.argv[2]))
    with suppress(EOFError, OSError):  # nobody is there any more
        if prepare := pipe.recv():
            _outcome(*prepare)
        while True:
            pipe.send(_outcome(*pipe.recv()))


def _outcome(function: Callable[..., Any], *args: Any) -> tuple[bool, Any]:
    """Whether a function raised, and what it raised or returned."""
    try:
        return False, function(*args)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # not every exception can be made of its arguments again
            return True, RuntimeError(f"{type(error).__name__}: {error}")
        return True, error
