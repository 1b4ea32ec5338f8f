"""A sweep as one thing: opened before its first cell, and given its sheet after its last."""

import logging
import math
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from nst.batch import Result
from nst.errors import NstError
from nst.gallery import animated_sheet, contact_sheet
from nst.grid import read_record
from nst.logbook import logbook, tracking_of
from nst.progress import console, summarize
from nst.recorder import now, write_json

log = logging.getLogger(__name__)


class Multirun(Callback):
    """Hydra's callback around a sweep, whichever launcher paints it.

    It works from the sweep's folder alone, because cells may be painted in other processes.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.began, self.started = time.monotonic(), now()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the sweep's folder, and say in `sweep.json` what it is.

        Raises:
            SystemExit: 2, if tracking is misconfigured; Hydra would make a warning of another exception.
        """
        self.folder = Path(config.hydra.sweep.dir).resolve()
        self.name = config.hydra.runtime.choices.get("experiment") or "sweep"
        try:
            logbook(tracking_of(config))
            self.folder.mkdir(parents=True, exist_ok=True)
            self._describe(self.folder)
        except (NstError, OSError) as error:
            console.print(f"error: {error}", style="red", soft_wrap=True, markup=False)
            raise SystemExit(2) from error

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Draw the sheets, complete the parent run, say what became of it all.

        Raises:
            SystemExit: 1, if a cell failed or a sheet could not be drawn.
        """
        assert self.folder is not None
        results = results_of(self.folder)
        where, failed = [f"folder  {self.folder}"], any(result.error for result in results)
        for draw in (contact_sheet, animated_sheet):
            try:
                where.append(f"sheet   {draw(self.folder)}")
            except (NstError, OSError) as error:
                log.error("%s", error)
                failed = True
        self._describe(self.folder, ended=now())
        # The process's one, not kept here: launchers send this object to other processes.
        if book := logbook(tracking_of(config)):
            book.end(self.folder)
            book.wait()
            where.append(book.where(self.folder))
        summarize(results, time.monotonic() - self.began, where)
        if failed:
            raise SystemExit(1)

    def _describe(self, folder: Path, ended: str | None = None) -> None:
        command = shlex.join(["python", "run.py", *sys.argv[1:]])
        sweep = {"name": self.name, "command": command, "started": self.started, "ended": ended}
        write_json(folder / "sweep.json", sweep)


def results_of(sweep: Path) -> list[Result]:
    """What `run.json` says of each run of a sweep, in order."""
    folders = [folder for folder in sweep.iterdir() if folder.name.isdecimal()]
    results = []
    for folder in sorted(folders, key=lambda folder: int(folder.name)):
        record = read_record(folder)
        finished = record.get("status") == "finished"
        loss = record["final"]["total"] if finished else math.nan
        error = None if finished else record.get("error") or "not finished"
        results.append(Result(folder, record.get("name", folder.name), loss, error))
    return results
