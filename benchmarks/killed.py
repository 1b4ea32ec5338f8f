"""run.py, killed by SIGKILL before one of its file operations after its painting has ended.

python benchmarks/killed.py N ARGUMENTS         the N-th, counted from 0
python benchmarks/killed.py finished ARGUMENTS  the first after a cell says that it is finished
"""

import os
import runpy
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from nst.execution import batch, runner
from nst.runs.writer import RunWriter

CHANGES = ("os.rename", "os.remove", "os.link", "os.rmdir", "os.mkdir", "os.symlink", "os.truncate")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def kill_before(when: int) -> None:
    """Let this process die before the operation of that number that changes a file."""
    ended, count = False, 0

    def happens(event: str, given: tuple[Any, ...]) -> None:
        nonlocal count
        changes = event in CHANGES or (event == "open" and isinstance(given[2], int) and given[2] & WRITES)
        if ended and changes:
            if count == when:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    def has_ended() -> None:
        nonlocal ended
        ended = True

    _before(batch, "_scores", has_ended)
    _before(runner, "remove_stale_batches", has_ended)  # where nothing was left to paint
    sys.addaudithook(happens)


def kill_when_finished() -> None:
    """Let this process die when the first cell of its first batch says that it is finished."""
    finish = RunWriter.finish

    def killed(self: RunWriter, *given: Any, **record: Any) -> float:
        finish(self, *given, **record)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    RunWriter.finish = killed  # type: ignore[method-assign]


def _before(module: ModuleType, name: str, call: Any) -> None:
    """Have `call` called before each call of a module's function."""
    function = getattr(module, name)

    def both(*given: Any) -> Any:
        call()
        return function(*given)

    setattr(module, name, both)


if __name__ == "__main__":
    if sys.argv[1] == "finished":
        kill_when_finished()
    else:
        kill_before(int(sys.argv[1]))
    script = str(Path(__file__).resolve().parent.parent / "run.py")
    sys.argv = [script, *sys.argv[2:]]
    runpy.run_path(script, run_name="__main__")
