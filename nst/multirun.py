"""A sweep as one thing: opened before its first cell, and given its sheet after its last."""

import logging
import math
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from nst.batch import Result
from nst.errors import NstError
from nst.files import read_json, write_json
from nst.gallery import rebuild, sweeps_in
from nst.logbook import logbook, tracking_of
from nst.progress import console, summarize
from nst.recorder import now

log = logging.getLogger(__name__)


def begin(folder: Path, name: str | None, title: str | None, grids: Sequence[str] | None = None) -> None:
    """Make a sweep's folder, and say in its `sweep.json` what it is.

    Args:
        folder: a new one, or that of a sweep that was interrupted: it began when it did.
        name: of the preset whose sweep it is, or what was asked for if it is a sweep of presets.
        title: what it shows, in words.
        grids: the folders of the sweeps in it, if it is a sweep of presets.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = read_json(folder / "sweep.json")
    sweep = {
        "name": name or "sweep",
        "title": title,
        "command": _command(name if grids is None else None),
        "started": known.get("started") or now(),
        "ended": None,
    }
    if grids is not None:
        sweep["grids"] = list(grids)
    write_json(folder / "sweep.json", sweep)


class Multirun(Callback):
    """Hydra's callback around a sweep, whichever sweeper and launcher make it.

    It works from the sweep's folder alone, because cells may be painted in other processes.
    """

    def __init__(self, title: str | None = None, order: int | None = None) -> None:
        """Take what a preset says of itself; `order` is for the sweeper, which reads it in the config."""
        self.title = title
        self.began = time.monotonic()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check that runs can be tracked, and open the sweep for a sweeper that does not itself.

        Raises:
            SystemExit: 2, if tracking is misconfigured; Hydra would make a warning of another exception.
        """
        try:
            logbook(tracking_of(config))
            if config.hydra.runtime.choices["hydra/sweeper"] != "presets":
                begin(_folder(config), config.hydra.runtime.choices.get("experiment"), self.title)
        except (NstError, OSError) as error:
            console.print(f"error: {error}", style="red", soft_wrap=True, markup=False)
            raise SystemExit(2) from error

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Draw the sheets, complete the parent runs, say what became of it all.

        Raises:
            SystemExit: 1, if a cell failed or a sheet could not be drawn.
        """
        if config.plan:
            return
        folder = _folder(config)
        sweeps = sweeps_in(folder)
        results = [result for sweep in sweeps for result in results_of(sweep)]
        failed = any(result.error for result in results)
        # The process's one, not kept here: launchers send this object to other processes.
        book = logbook(tracking_of(config))
        if book:
            book.wait()  # the page says where the runs are
        for sweep in {folder, *sweeps}:
            end(sweep)
        try:
            rebuild(folder)
        except (NstError, OSError) as error:
            log.error("%s", error)
            failed = True
        where = [f"folder  {folder}", f"page    {folder / 'index.html'}"]
        if book:
            for sweep in sweeps:
                book.end(sweep)
            book.wait()
            where.append(book.where(sweeps[0]))
        summarize(results, time.monotonic() - self.began, where)
        if failed:
            raise SystemExit(1)


def end(folder: Path) -> None:
    """Say in `sweep.json` that the sweep is over."""
    write_json(folder / "sweep.json", read_json(folder / "sweep.json") | {"ended": now()})


def results_of(sweep: Path) -> list[Result]:
    """What `run.json` says of each run of a sweep, in order."""
    folders = [folder for folder in sweep.iterdir() if folder.name.isdecimal()]
    results = []
    for folder in sorted(folders, key=lambda folder: int(folder.name)):
        record = read_json(folder / "run.json")
        finished, taken = record.get("status") == "finished", record.get("taken_from")
        loss = record["final"]["total"] if finished else math.nan
        error = None if finished else record.get("error") or "not finished"
        name = record.get("name", folder.name)
        results.append(Result(folder, name, loss, error, Path(taken) if taken else None))
    return results


def _folder(config: DictConfig) -> Path:
    return Path(config.hydra.sweep.dir).resolve()


def _command(preset: str | None) -> str:
    """The command that paints this sweep; of one `preset` where it swept over several."""
    arguments = sys.argv[1:]
    if preset:
        arguments = [
            f"experiment={preset}" if argument.startswith("experiment=") else argument
            for argument in arguments
            if not argument.startswith("hydra.sweep.dir=")
        ]
    return shlex.join(["python", "run.py", *arguments])
