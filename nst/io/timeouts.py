"""What makes no progress for a minute is stuck, and is not waited for any longer."""

import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SECONDS = 60  # longer than any step takes on a slow disk
KILLED_SECONDS = 5


def wait_until(wait: Callable[[float], object], times: int = 1) -> bool:
    """Whether `wait`, which is given a second at a time, came true within `times` as long as is the bound.

    Seconds that were waited count, not the clock: a machine that slept and a job that was suspended are
    not stuck.
    """
    return any(wait(1.0) for _ in range(times * SECONDS))


def wait_for_exit(process: "subprocess.Popen[bytes]", writes: Path) -> bool:
    """Wait for a process to end; False if it is stuck, and the file that it writes stays as it is."""
    before = _state(writes)
    while not wait_until(lambda seconds: _ends(process, seconds)):
        now = _state(writes)
        if now == before:
            return False
        before = now
    return True


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process at once; one that even this does not end, because it waits for a disk, is left."""
    process.kill()
    _ends(process, KILLED_SECONDS)


def _ends(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.returncode is not None


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
