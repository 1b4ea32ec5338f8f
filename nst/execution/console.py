"""What a person sees while it paints: bars on a terminal, plain lines in a log."""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from nst.execution.batch import Progress
from nst.execution.plan import Plan
from nst.execution.resolve import network_of
from nst.io.files import read_json
from nst.runs.job import Job, Result

log = logging.getLogger(__name__)
console = Console(stderr=True)

MOST_BARS = 16  # more would not fit a screen: then one bar for the batch
SECONDS_A_LINE = 10.0
MOST_LINES = 4  # at a time
MOST_ROWS = 100  # of a summary: of more, only those that need a look


class ConsoleHandler(logging.Handler):
    """Log records on the console, above the bars; `conf/hydra/job_logging` names it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record: the bare message, with its level where it is a warning or worse."""
        try:
            text = Text(self.format(record))
            if record.levelno >= logging.WARNING:
                style = "yellow" if record.levelno == logging.WARNING else "red"
                text = Text(f"{record.levelname.lower()}: ", style=style) + text
            console.print(text, soft_wrap=True)
        except Exception:
            self.handleError(record)


@contextmanager
def batch_progress(
    jobs: Sequence[Job], first: int = 0, of: int | None = None
) -> Iterator[Callable[[Progress], None]]:
    """Show the progress of a batch; yields what `run_batch` is to call.

    Args:
        jobs: of the batch.
        first: how many cells of the sweep were painted before.
        of: how many cells the sweep has, where that is known.
    """
    names = [_place(first + row, of) for row in range(len(jobs))]
    if console.is_terminal:
        with _bars(jobs, names) as watch:
            yield watch
    else:
        ends = names if len(names) == 1 else [names[0].partition(" of")[0], names[-1]]
        yield _lines(" to ".join(ends))


@contextmanager
def _bars(jobs: Sequence[Job], names: Sequence[str]) -> Iterator[Callable[[Progress], None]]:
    columns = (
        TextColumn("{task.fields[place]}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>6.1f} it/s"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.description}", style="dim", markup=False),
    )
    rows = list(range(len(jobs))) if len(jobs) <= MOST_BARS else [0]
    with Bars(*columns, console=console, refresh_per_second=8) as bars:
        start = time.monotonic()
        tasks = [
            bars.add_task(
                jobs[row].name if len(rows) == len(jobs) else f"and {len(jobs) - 1} more",
                place=names[row],
                rate=0.0,
                loss="",
            )
            for row in rows
        ]

        def watch(progress: Progress) -> None:
            rate = progress.iteration / max(time.monotonic() - start, 1e-9)
            for row, task in zip(rows, tasks, strict=True):
                bars.update(
                    task,
                    completed=progress.iteration,
                    total=progress.iterations,
                    rate=rate,
                    loss=f"{progress.losses[row]:.4g}",
                )

        yield watch


def _lines(place: str) -> Callable[[Progress], None]:
    """A log line every ten seconds, and one at the end."""
    start = last = time.monotonic()

    def watch(progress: Progress) -> None:
        nonlocal last
        instant = time.monotonic()
        done = progress.iteration == progress.iterations
        if instant - last < SECONDS_A_LINE and not done:
            return
        last = instant
        rate = progress.iteration / max(instant - start, 1e-9)
        loss = _range([value for value in progress.losses if math.isfinite(value)])
        left = "" if done else f", {(progress.iterations - progress.iteration) / rate:.0f} s left"
        log.info(
            "%s: %d/%d iterations, %.1f it/s%s, loss %s",
            place,
            progress.iteration,
            progress.iterations,
            rate,
            left,
            loss,
        )

    return watch


@contextmanager
def task_progress(reports: Mapping[Path, str]) -> Iterator[Callable[[], None]]:
    """Show the progress of batches that other processes paint; yields what is to be called now and then.

    Args:
        reports: the file in which each batch tells how far it is, while it is painted, and its name.
    """
    if console.is_terminal:
        with _gathered_bars(_Gathered(reports)) as look:
            yield look
    else:
        yield _gathered_lines(_Gathered(reports))


class _Gathered:
    """What batches that others paint have told so far.

    Attributes:
        names: of the batches, by their reports.
        shares: how much of each batch that was begun is painted, 0 to 1; its report is removed at the end.
    """

    def __init__(self, names: Mapping[Path, str]) -> None:
        self.names = names
        self.shares: dict[Path, float] = {}

    def read(self) -> dict[Path, dict[str, Any]]:
        """The reports of the batches that are being painted."""
        known = {path: found for path in self.names if (found := read_json(path))}
        self.shares |= dict.fromkeys(self.shares, 1.0)
        self.shares |= {path: found["iteration"] / found["iterations"] for path, found in known.items()}
        return known


@contextmanager
def _gathered_bars(batches: _Gathered) -> Iterator[Callable[[], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}", justify="right"),
        TextColumn("{task.fields[rate]}", justify="right"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[loss]}"),
    )
    empty: dict[str, Any] = {"count": "", "rate": "", "loss": ""}
    with Bars(*columns, console=console, refresh_per_second=4) as bars:
        whole = bars.add_task(
            _count(len(batches.names), "batch", "batches"), total=len(batches.names), **empty
        )
        tasks: dict[Path, TaskID] = {}

        def look() -> None:
            known = batches.read()
            painted = sum(batches.shares.values())
            bars.update(whole, completed=painted, count=f"{painted / len(batches.names):.0%}")
            for path in tasks.keys() - known.keys():
                bars.remove_task(tasks.pop(path))
            for path, report in known.items():
                if path not in tasks:
                    tasks[path] = bars.add_task(batches.names[path], total=report["iterations"], **empty)
                speed = bars.tasks[bars.task_ids.index(tasks[path])].speed
                bars.update(
                    tasks[path],
                    completed=report["iteration"],
                    count=f"{report['iteration']}/{report['iterations']}",
                    rate=f"{speed:.1f} it/s" if speed else "",
                    loss=f"loss {_range(report['losses'])}",
                )

        yield look


def _gathered_lines(batches: _Gathered) -> Callable[[], None]:
    """Every ten seconds a log line for all, and one for each batch that is painted, if these are few."""
    last = time.monotonic()

    def look() -> None:
        nonlocal last
        known = batches.read()
        if (instant := time.monotonic()) - last < SECONDS_A_LINE:
            return
        last = instant
        painted, of = sum(batches.shares.values()), len(batches.names)
        log.info(
            "%.0f%% of %s painted, %d at it", 100 * painted / of, _count(of, "batch", "batches"), len(known)
        )
        for path, report in known.items() if len(known) <= MOST_LINES else ():
            at = f"{report['iteration']}/{report['iterations']}"
            log.info("%s: %s iterations, loss %s", batches.names[path], at, _range(report["losses"]))

    return look


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _range(losses: Sequence[float] | None) -> str:
    if not losses:
        return "none that is finite"
    low, high = min(losses), max(losses)
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def summarize(results: Sequence[Result], seconds: float, where: Sequence[str]) -> None:
    """A table of what was painted, and `where` to look at it, a line each.

    Of more cells than a person would read through, it has those that are not finished.
    """
    table = Table(box=None, header_style="bold", title_justify="left")
    for heading, justify in (("cell", "right"), ("", "left"), ("loss", "right"), ("", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row, result in enumerate(results):
        if len(results) > MOST_ROWS and result.error is None:
            continue
        status = Text("finished", "green")
        if result.taken_from is not None:
            status = Text(f"taken from {_short(result.taken_from)}", "cyan")
        if result.error is not None:
            status = Text(f"{result.status}: {result.error}", "red")
        loss = f"{result.loss:.5g}" if result.error is None else ""
        table.add_row(str(row), Text(result.name), loss, status)
    if table.row_count:
        console.print(table)
    finished = sum(result.error is None for result in results)
    taken = sum(result.taken_from is not None for result in results)
    told = f", {taken} of them taken from where they were painted" if taken else ""
    console.print(f"{finished} of {len(results)} cells finished in {seconds:.1f} s{told}", style="bold")
    for line in where:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def show_plan(planned: Plan) -> None:
    """Print, on stdout, what is to be done: each cell, each batch, and how long it will take."""
    out = Console(soft_wrap=True, highlight=False)
    top = os.path.commonpath([job.folder.parent for job in planned.jobs])
    place = {job.folder: os.path.relpath(job.folder, top) for job in planned.jobs}
    number = {job.folder: index for index, batch in enumerate(planned.batches, 1) for job in batch}
    wide, names = (max(map(len, texts)) for texts in (place.values(), [job.name for job in planned.jobs]))
    for job in planned.jobs:
        if job.folder in planned.done:
            state = Text(f"painted before, in {_short(planned.done[job.folder])}", "green")
        elif job.folder in planned.shared:
            state = Text(f"the same as {place[planned.shared[job.folder]]}", "cyan")
        else:
            state = Text(f"batch {number[job.folder]}")
        out.print(Text(f"{place[job.folder]:<{wide}}  {job.name:<{names}}  ") + state)
    for index, batch in enumerate(planned.batches, 1):
        config = batch[0].config
        out.print(
            f"batch {index}: {len(batch)} cells, {network_of(config) or config.model.name}, "
            f"{config.optimizer.name}, {config.size} px, {config.iterations} iterations, "
            f"{config.hardware.precision.name}"
        )
    left = sum(map(len, planned.batches))
    iterations = sum(len(batch) * batch[0].config.iterations for batch in planned.batches)
    same = f"{len(planned.shared)} the same as another, " if planned.shared else ""
    out.print(
        f"{len(planned.jobs)} cells: {len(planned.done)} painted before, {same}"
        f"{left} to paint in {len(planned.batches)} batches, {iterations:,} iterations of a cell",
        style="bold",
    )
    out.print(_estimate(planned))


def _estimate(planned: Plan) -> str:
    if not planned.batches:
        return "nothing is left to paint"
    seconds, runs = planned.seconds()
    if math.isnan(seconds):
        return "no estimate: nothing was painted before on this device in this precision"
    told = f"{seconds:.0f} s" if seconds < 90 else str(timedelta(seconds=round(seconds)))
    return f"about {told} of painting, by the speed of {runs} earlier runs"


def _short(path: Path) -> str:
    """A path as seen from here, where that is shorter."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _place(index: int, of: int | None) -> str:
    return f"cell {index + 1}" + (f" of {of}" if of else "")
