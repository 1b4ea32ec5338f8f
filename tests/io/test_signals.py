"""Signals of a process that paints: each test is a process that sends them to itself, so nothing is timed."""

import signal
import subprocess
import sys

import pytest

from nst.config.paths import ROOT

BEGIN = """
import signal, subprocess, sys
from nst.io.signals import (
    Interrupted, block_signals, defer_signals, install_handlers, raise_on_signal, raise_pending,
    stop_requested,
)
"""
SECONDS = 60  # within which all that is here ends


def run(script: str, *arguments: str) -> tuple[int, list[str], list[str]]:
    """What a script ends with, prints and complains of, in lines."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


ALL = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)


@ALL
def test_where_nobody_catches_it_a_signal_ends_the_process(number: signal.Signals) -> None:
    script = """
install_handlers()
signal.raise_signal(int(sys.argv[1]))
print("lives")
"""
    assert run(script, str(int(number))) == (128 + number, [], ["interrupted"])


@ALL
def test_where_it_is_caught_it_is_raised(number: signal.Signals) -> None:
    script = """
install_handlers()
try:
    with raise_on_signal():
        signal.raise_signal(int(sys.argv[1]))
        print("goes on")
except Interrupted as interrupted:
    print(interrupted.number, interrupted)
"""
    assert run(script, str(int(number))) == (0, [f"{int(number)} interrupted by {number.name}"], [])


@ALL
def test_the_first_is_deferred_and_raised_at_the_end_of_the_block(number: signal.Signals) -> None:
    script = """
install_handlers()
try:
    with raise_on_signal():
        with defer_signals():
            print(stop_requested())
            signal.raise_signal(int(sys.argv[1]))
            print(stop_requested())
        print("goes on")
except Interrupted as interrupted:
    print(interrupted.number)
"""
    code, out, err = run(script, str(int(number)))
    assert (code, out) == (0, ["False", "True", str(int(number))])
    assert err == ["", "stopping when the canvases are kept; once more stops at once"]


@pytest.mark.parametrize(
    ("first", "second", "raised"),
    [
        (signal.SIGINT, signal.SIGINT, True),
        (signal.SIGTERM, signal.SIGINT, True),
        (signal.SIGHUP, signal.SIGHUP, False),  # shell and kernel both send it
        (signal.SIGINT, signal.SIGHUP, False),
    ],
)
def test_the_second_is_raised_in_the_block(
    first: signal.Signals, second: signal.Signals, raised: bool
) -> None:
    script = """
install_handlers()
try:
    with raise_on_signal(), defer_signals():
        signal.raise_signal(int(sys.argv[1]))
        signal.raise_signal(int(sys.argv[2]))
        print("goes on")
except Interrupted as interrupted:
    print(interrupted.number)
"""
    code, out, _ = run(script, str(int(first)), str(int(second)))
    last = second if raised else first
    assert (code, out) == (0, ["goes on"] * (not raised) + [str(int(last))])


def test_what_was_raised_in_vain_is_raised_again() -> None:
    script = """
class Resource:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

install_handlers()
with raise_on_signal():
    resource = Resource()
    del resource  # Python prints what is raised in here, and goes on
    print("goes on")
    for again in (raise_pending, defer_signals().__enter__):
        try:
            again()
        except Interrupted as interrupted:
            print(interrupted.number)
"""
    number = str(int(signal.SIGINT))
    assert run(script) == (0, ["goes on", number, number], [])


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    script = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
install_handlers()
signal.raise_signal(signal.SIGHUP)
print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)
"""
    assert run(script) == (0, ["True"], [])


def test_signals_that_are_not_ours_are_left() -> None:
    script = """
install_handlers([signal.SIGTERM])
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    assert run(script) == (0, ["True"], [])


def test_processes_started_in_the_block_do_not_hear_of_signals() -> None:
    script = """
child = "import signal; print(*sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))))"
with block_signals():
    print(subprocess.check_output([sys.executable, "-c", child], text=True).strip())
print(subprocess.check_output([sys.executable, "-c", child], text=True).strip())
"""
    blocked = (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
    assert run(script) == (0, [" ".join(str(int(number)) for number in blocked), ""], [])


def test_a_second_one_ends_a_process_that_is_stuck_in_a_library() -> None:
    """The main thread waits for what never comes, and the handlers of Python run in that thread."""
    script = """
import ctypes, os, threading, time
install_handlers()
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)

def twice():
    for _ in range(2):
        time.sleep(0.2)  # two of a kind that wait to be delivered are one
        os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=twice, daemon=True).start()
with raise_on_signal():
    libc.pthread_mutex_lock(mutex)
    print("goes on")
"""
    assert run(script) == (143, [], ["interrupted"])


def test_the_signals_of_a_forked_process_do_not_end_this_one() -> None:
    script = """
import os, time
import nst.io.signals as ours
ours.SECONDS_TO_END = 0
install_handlers()
ready, begins = os.pipe()
child = os.fork()
if not child:
    for number in (signal.SIGINT, signal.SIGTERM):  # a library's own way to end
        signal.signal(number, lambda *_: None)
    os.write(begins, b".")
    while True:
        time.sleep(0.01)
os.read(ready, 1)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
    os.kill(child, number)
    time.sleep(0.1)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
time.sleep(0.2)
print("lives")
"""
    assert run(script) == (0, ["lives"], [])
