"""The command that people type, in a process of its own: to its end, or while a test does things to it."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from nst.config.paths import ROOT

from .forked import python, start

# Weights that need no cache and no network; canvases mean nothing with them, which is enough here.
SMALL = ["model=vgg16", "model.weights=random", "size=32", "iterations=4", "hardware.device=cpu"]


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def command(folder: Path, *arguments: str, gibibytes: int | None = None, **environment: str) -> Ended:
    """Run run.py in `folder`; in a process from nothing where its address space is limited."""
    known = _environment() | environment
    if gibibytes is None:
        return Ended(*python([str(ROOT / "run.py"), *arguments], folder, known, seconds=300))
    limit = gibibytes << 30
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        cwd=folder,
        env=known,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class Running:
    """run.py in a process group of its own; in a process from nothing if it is `fresh`."""

    def __init__(self, folder: Path, *arguments: str, fresh: bool = False) -> None:
        self._err = folder / "stderr"
        run = [str(ROOT / "run.py"), *arguments]
        self.process: subprocess.Popen[bytes] | ForkServerProcess
        if not fresh:
            self._err.touch()
            self.process = start(run, folder, _environment(), Path(os.devnull), self._err)
            return
        with self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, *run], cwd=folder, env=_environment(), stderr=err, start_new_session=True
            )

    def code(self) -> int | None:
        """Its exit code, if it has ended."""
        return self.process.poll() if isinstance(self.process, subprocess.Popen) else self.process.exitcode

    def until(self, happened: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not happened():
            assert self.code() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)

    def send(self, number: int) -> None:
        """As a terminal does: to all processes of the group."""
        assert self.process.pid is not None
        os.killpg(self.process.pid, number)

    def said(self) -> str:
        return self._err.read_text()

    def ended(self, seconds: float = 120) -> Ended:
        wait = self.process.wait if isinstance(self.process, subprocess.Popen) else self.process.join
        wait(seconds)
        code = self.code()
        assert code is not None, self.said()
        return Ended(code, "", self.said())


def _environment() -> dict[str, str]:
    known = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    return known | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
