"""A child process: what its calls return and raise, and what becomes of it."""

import json
import operator
import os
from collections.abc import Iterator

import psutil
import pytest

from nst.io.child_process import ChildDied, ChildProcess


@pytest.fixture
def child() -> Iterator[ChildProcess]:
    child = ChildProcess("test", os.nice, 2, niceness=3)
    yield child
    child.stop()


@pytest.mark.e2e
def test_calls_return_and_raise_as_here_in_another_process(child: ChildProcess) -> None:
    assert child.pid is None
    child.start()
    assert child.call(os.getpid) == child.pid != os.getpid()
    assert psutil.Process(child.pid).cmdline()[-1] == "test"
    assert child.call(os.nice, 0) == os.nice(0) + 5  # it was prepared
    assert child.call(json.loads, '{"a": [1]}') == {"a": [1]}
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        child.call(operator.truediv, 1, 0)
    with pytest.raises(RuntimeError, match="Odd: it is known there alone"):
        child.call(exec, "class Odd(Exception): pass\nraise Odd('it is known there alone')")


@pytest.mark.e2e
def test_one_that_dies_is_replaced(child: ChildProcess) -> None:
    first = child.call(os.getpid)
    with pytest.raises(ChildDied, match=r"exit code 3") as died:
        child.call(os._exit, 3)
    assert died.value.code == 3
    second = child.call(os.getpid)
    assert second != first
    child.stop()
    assert not psutil.pid_exists(second)
    with pytest.raises(ChildDied, match="exit code -9"):
        child.call(os.getpid)
