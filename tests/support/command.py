"""The command that people type, in a process of its own: to its end, or while a test does things to it."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nst.config.paths import ROOT

from .forked import python

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
    """Run run.py in `folder`.

    In a process from nothing where its address space is limited, or a launcher starts processes in turn.
    """
    known = _environment() | environment
    if gibibytes is None and not any("launcher" in argument for argument in arguments):
        return Ended(*python([str(ROOT / "run.py"), *arguments], folder, known, seconds=300))
    limit = resource.RLIM_INFINITY if gibibytes is None else gibibytes << 30
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
    """run.py in a process group of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._err = (folder / "stderr").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "run.py"), *arguments],
            cwd=folder,
            env=_environment(),
            stderr=self._err,
            start_new_session=True,
        )

    def until(self, happened: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not happened():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)

    def send(self, number: int) -> None:
        """As a terminal does: to all processes of the group."""
        os.killpg(self.process.pid, number)

    def said(self) -> str:
        self._err.seek(0)
        return self._err.read()

    def ended(self, seconds: float = 120) -> Ended:
        code = self.process.wait(timeout=seconds)
        return Ended(code, "", self.said())


def _environment() -> dict[str, str]:
    known = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    return known | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
