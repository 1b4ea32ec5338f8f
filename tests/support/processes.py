"""The processes that a process has started."""

from contextlib import suppress

import psutil


def children(name: str, pid: int | None = None) -> list[psutil.Process]:
    """The `ChildProcess`es of that name of a process; of this one if not said."""
    found = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
            if child.cmdline()[-1:] == [name]:
                found.append(child)
    return found
