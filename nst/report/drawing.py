"""Processes that draw beside this one: sheets and curves are seconds of Python each."""

import atexit
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from threading import local
from typing import Any, TypeVar

from nst.io.child_process import ChildDied, ChildProcess

A = TypeVar("A")
T = TypeVar("T")

MOST = 4  # processes of a pool; each may have a decoder for each canvas of a sheet
NICENESS = 10  # of what is drawn ahead: painting goes first

_begun: dict[tuple[Callable[..., Any], Any], Future[Any]] = {}  # by the function and its argument


class DrawingPool:
    """Calls functions of modules in child processes, which it starts as they are needed.

    Args:
        niceness: theirs.
    """

    def __init__(self, niceness: int) -> None:
        self._niceness = niceness
        self._threads = ThreadPoolExecutor(min(os.cpu_count() or 1, MOST), "drawing")
        self._own = local()  # each thread's child
        self._children = list[ChildProcess]()

    def submit(self, function: Callable[[A], T], argument: A) -> Future[T]:
        """Call a function when there is a process for it."""
        return self._threads.submit(self._call, function, argument)

    def stop(self) -> None:
        """End it for good, whatever is being drawn."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._children:
            child.stop()

    def _call(self, function: Callable[[A], T], argument: A) -> T:
        child: ChildProcess | None = getattr(self._own, "child", None)
        if child is None:
            child = self._own.child = ChildProcess("drawing", niceness=self._niceness)
            self._children.append(child)
        child.start()
        if child.pid is None:  # it cannot be: too many processes, too little memory
            return function(argument)
        try:
            return child.call(function, argument)
        except ChildDied:
            return child.call(function, argument)


@cache
def _pool(ahead: bool) -> DrawingPool:
    pool = DrawingPool(NICENESS if ahead else 0)
    atexit.register(pool.stop)
    return pool


def draw_ahead(function: Callable[[A], T], argument: A) -> None:
    """Begin to call a function of a module, of which `draw_each` will ask the result.

    Nothing that is asked for now has to wait for it.
    """
    _begun[function, argument] = _pool(True).submit(function, argument)


def draw_each(function: Callable[[A], T], arguments: Sequence[A]) -> list[Future[T]]:
    """Call a function of a module for each of the arguments, in processes beside this one.

    What was begun ahead of its time is not begun again. A lone one that is left is called here.
    """
    drawn: dict[A, Future[T]] = {
        argument: _begun.pop((function, argument)) for argument in arguments if (function, argument) in _begun
    }
    left = [argument for argument in arguments if argument not in drawn]
    begin = _pool(False).submit if len(left) > 1 else _here
    return [drawn.get(argument) or begin(function, argument) for argument in arguments]


def stop_drawing() -> None:
    """End what is being drawn, now, and forget it."""
    for ahead in (False, True):
        _pool(ahead).stop()
    _pool.cache_clear()
    _begun.clear()


def _here(function: Callable[[A], T], argument: A) -> Future[T]:
    done = Future[T]()
    try:
        done.set_result(function(argument))
    except Exception as error:
        done.set_exception(error)
    return done
