"""run.py's own `main`, driven in this process up to the first batch."""

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_type_hints

import hydra
import pytest
from omegaconf import DictConfig

from nst.cli import bypass_hydra, run_app
from nst.config.paths import ROOT
from nst.config.schema import register
from nst.execution.executors import base
from nst.execution.resolve import resolve
from nst.execution.runner import paint
from nst.runs.job import Job, Result
from nst.tracking import background
from nst.tracking.background import BackgroundTracker

from . import parsed_once  # noqa: F401
from .logging_here import LoggingNothing

register()

SMALL = ["model=vgg16", "model.weights=random", "size=24", "iterations=2", "tracking=none"]
SMALL += ["hardware.device=cpu"]
JARGON = ("full_key", "object_type", "DictConfig", "ListConfig", "Optional", "provider=", "Traceback")
JARGON += (
    "Ambiguous value",
    "--multirun",
    "Union[",
    "NoneType",
    "is not in struct",
    "subclass of",
    "BasicSweeper",
)


def on_small(arguments: Sequence[str]) -> list[str]:
    """The arguments after those that make a cell small; argparse wants options first."""
    return sorted([*SMALL, *arguments], key=lambda argument: argument != "-m")


@dataclass(frozen=True)
class Driven:
    """What became of a command: its exit code, what it said, and the job that it would have painted."""

    code: int | None  # None where painting began
    err: str
    job: Job | None = None


@hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name="config")
def main(composed: DictConfig) -> float:
    """What run.py's `main` is, whose own looks for `conf` beside the program that was started."""
    return bypass_hydra(paint)(composed)


class PaintingBegins(BaseException):
    """Painting would begin here."""


def driven(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> Driven:
    """What run.py makes of its arguments, up to the first batch."""
    began: list[Job] = []

    def batch(jobs: Sequence[Job], watch: object) -> list[Result]:
        for job in jobs:
            resolve(job.config)
        began.extend(jobs)
        raise PaintingBegins

    said = io.StringIO()
    with monkeypatch.context() as patched, redirect_stderr(said), redirect_stdout(io.StringIO()):
        patched.setattr(base, "run_batch", batch)
        patched.setattr(background, "_logbook", lambda store: BackgroundTracker(LoggingNothing(store)))
        patched.setattr(sys, "argv", ["run.py", *arguments])
        patched.setenv("HYDRA_FULL_ERROR", "0")
        try:
            code: int | None = run_app(main)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        except PaintingBegins:
            code = None
    return Driven(code, said.getvalue(), began[0] if began else None)


def leaves(schema: Any, parent: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a schema with its type, also those that have keys in them."""
    hints = get_type_hints(schema)
    for entry in fields(schema):
        kind = hints[entry.name]
        yield f"{parent}{entry.name}", kind
        if is_dataclass(kind):
            yield from leaves(kind, f"{parent}{entry.name}.")
