"""SIGINT, SIGTERM, SIGHUP: while a batch is painted the first asks to save it, the second ends it."""

import os
import select
import signal
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
REPEATED = (signal.SIGHUP,)  # shell and kernel both send it when a terminal goes: never an order
SECONDS_TO_END = 1.5  # after the second; files are whole or absent at any time


class Interrupted(BaseException):
    """A signal asked this process to end; `number` is the signal's.

    It is no Exception, so that nobody takes it for something that could be mended.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


class _State:
    raising = False  # whether somebody catches what is raised
    deferring = False  # whether somebody looks at `stop_requested` soon
    requested: int | None = None


def install_handlers(signals: Iterable[int] = SIGNALS) -> None:
    """Take signals over, in the main thread of a process that paints; outside `raise_on_signal` they end it.

    A SIGHUP that is ignored stays so: that is what `nohup` is for. After the second the process has
    `SECONDS_TO_END` to end by itself, and then is ended.
    """
    ours = {
        number
        for number in signals
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    }
    _State.requested = None
    for number in ours:
        signal.signal(number, _handle)
    sys.unraisablehook = _unraised
    # Python's handlers run in the main thread, which may wait in a library for what never comes. The number
    # of a signal is written to this pipe whatever the main thread does.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    if before != -1:
        os.close(before)
    # A process that a library forks has this pipe too, and its signals are not ours.
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    Thread(target=_end_after_second, args=(reader, ours), name="signals", daemon=True).start()


@contextmanager
def raise_on_signal() -> Iterator[None]:
    """Inside, a signal raises `Interrupted`."""
    _State.raising = True
    try:
        yield
    finally:
        _State.raising = False


@contextmanager
def defer_signals() -> Iterator[None]:
    """Inside, the first signal only makes `stop_requested` true, and the second raises.

    Raises:
        Interrupted: on leaving, if a signal came.
    """
    raise_pending()
    _State.deferring = True
    try:
        yield
    finally:
        _State.deferring = False
    raise_pending()


def stop_requested() -> bool:
    """Whether a signal came."""
    return _State.requested is not None


def raise_pending() -> None:
    """Raise `Interrupted` if a signal came and its exception was lost, as in a `__del__`."""
    if _State.requested is not None:
        raise Interrupted(_State.requested)


@contextmanager
def block_signals() -> Iterator[None]:
    """Processes that are started inside do not hear of signals that are ours to answer.

    A terminal sends them to all processes of its group, and Slurm to all of a job.
    """
    ours = {*SIGNALS, signal.SIGUSR1, signal.SIGUSR2}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _handle(number: int, frame: FrameType | None) -> None:
    if not _State.raising:
        _say(b"interrupted\n")
        os._exit(128 + number)
    if _State.requested is not None and number in REPEATED:
        return
    first, _State.requested = _State.requested is None, number
    if not _State.deferring or not first:
        raise Interrupted(number)
    _say(b"\nstopping when the canvases are kept; once more stops at once\n")


def _end_after_second(reader: int, signals: Collection[int]) -> None:
    """End this process when two of `signals` were read from a pipe, whatever its other threads do."""
    came = 0
    while numbers := os.read(reader, 1):
        number = numbers[0]
        came += number in signals and not (came and number in REPEATED)
        if came == 2:
            time.sleep(SECONDS_TO_END)
            _say(b"interrupted\n")
            os._exit(128 + number)
    os.close(reader)


def _say(line: bytes) -> None:
    """Write to stderr, past Python's buffers, which the interrupted code may be using."""
    with suppress(OSError, ValueError):  # the terminal may be gone
        if select.select([], [2], [], 0)[1]:  # nobody may be reading
            os.write(2, line)


def _unraised(what: "sys.UnraisableHookArgs") -> None:
    """Say nothing of an `Interrupted` where nothing can be raised: `raise_pending` raises it again."""
    if not isinstance(what.exc_value, Interrupted):
        sys.__unraisablehook__(what)
