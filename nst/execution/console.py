"""What a person reads: the plan, the summary."""

import logging
import math
import os
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nst.config.film import all_iterations, frame_count
from nst.config.schema import Config
from nst.execution.console_handler import console
from nst.execution.device import device_name, device_of, memory, recomputes
from nst.execution.plan import Plan
from nst.execution.resolve import network_of
from nst.runs.job import Job, Result
from nst.runs.record import RunRecord

log = logging.getLogger(__name__)

MOST_ROWS = 100  # of a summary: of more, only those that need a look
SCORES = {"lpips_content": "LPIPS", "style_distance": "style"}


def summarize(results: Sequence[Result], seconds: float, where: Sequence[str]) -> None:
    """A table of what was painted, and `where` to look at it, a line each.

    Of more cells than a person would read through, it has those that are not finished.
    """
    rows = [(row, one) for row, one in enumerate(results) if len(results) <= MOST_ROWS or one.error]
    scores = {row: RunRecord.read(one.folder, lenient=True).scores for row, one in rows if not one.error}
    scored = {key: heading for key, heading in SCORES.items() if any(key in of for of in scores.values())}
    table = Table(box=None, header_style="bold")
    table.add_column("cell", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for heading in ("loss", *scored.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    names = _tell_apart([result.name for result in results])
    for row, result in rows:
        status = Text("finished", "green")
        if result.taken_from is not None:
            status = Text(f"taken from {_short(result.taken_from)}", "cyan")
        if result.error is not None:
            status = Text(f"{result.status}: {result.error}", "red")
        loss = f"{result.loss:.5g}" if result.error is None else ""
        known = scores.get(row, {})
        found = [f"{known[key]:.3f}" if key in known else "" for key in scored]
        table.add_row(str(row), Text(names[row]), loss, *found, status)
    if table.row_count:
        console.print(table)
    finished = sum(result.error is None for result in results)
    taken = sum(result.taken_from is not None for result in results)
    suffix = f", {taken} of them taken from where they were painted" if taken else ""
    cells = _count(len(results), "cell")
    console.print(f"{finished} of {cells} finished in {seconds:.1f} s{suffix}", style="bold")
    for line in where:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def announce(planned: Plan) -> None:
    """Log what is about to be painted, on what, and where: the first step may be seconds away."""
    batches = [[job for job in batch if job.folder in planned.identities] for batch in planned.batches]
    batches = [batch for batch in batches if batch]
    jobs = [job for batch in batches for job in batch]
    if not jobs:  # or their images cannot be read, which is said instead
        return
    networks, devices = (
        ", ".join(dict.fromkeys(said))
        for said in (
            [job.config.model.name for job in jobs],
            [device_name(device_of(batch[0].config)) for batch in batches],
        )
    )
    together = f" in {_count(len(batches), 'batch')}" if len(jobs) > 1 else ""
    where = os.path.commonpath([job.folder for job in jobs])
    painted = f"{_count(len(jobs), 'cell')}{together}"
    log.info("painting %s with %s on %s, into %s", painted, networks, devices, _short(Path(where)))


def show_plan(planned: Plan) -> None:
    """Print, on stdout, the plan: each cell, each batch, and how long it will take."""
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
            f"batch {index}: {_count(len(batch), 'cell')}, {network_of(config) or config.model.name}, "
            f"{config.optimizer.name}, {_sizes(config)} px, {_iterations(config)}, "
            f"{config.hardware.precision.name}, {_memory(batch)}"
        )
    left = sum(map(len, planned.batches))
    iterations = sum(len(batch) * all_iterations(batch[0].config) for batch in planned.batches)
    same = f"{len(planned.shared)} the same as another, " if planned.shared else ""
    out.print(
        f"{_count(len(planned.jobs), 'cell')}: {len(planned.done)} painted before, {same}"
        f"{left} to paint in {_count(len(planned.batches), 'batch')}, {iterations:,} iterations of a cell",
        style="bold",
    )
    out.print(_estimate(planned))


def _sizes(config: Config) -> str:
    """The size of a canvas, or the sizes that it has one after the other."""
    return ", ".join(str(scale.size) for scale in config.schedule)


def _iterations(config: Config) -> str:
    frames = frame_count(config)
    return f"{all_iterations(config)} iterations" + (f" of {frames} frames" if frames > 1 else "")


def _memory(batch: Sequence[Job]) -> str:
    """What a batch takes, and whether it fits that only because it recomputes."""
    configs = [job.config for job in batch]
    said = f"about {memory(configs):.1f} GiB"
    return f"{said}, recomputing activations" if recomputes(configs) else said


def _estimate(planned: Plan) -> str:
    if not planned.batches:
        return "nothing is left to paint"
    seconds, runs = planned.seconds()
    if math.isnan(seconds):
        return "no estimate: nothing was painted before on this device in this precision"
    time = f"{seconds:.0f} s" if seconds < 90 else str(timedelta(seconds=round(seconds)))
    return f"about {time} of painting, by the speed of {_count(runs, 'earlier run')}"


def _count(number: int, noun: str) -> str:
    """So many of them: "1 cell", "2 batches"."""
    return f"{number} {noun}{'' if number == 1 else 'es' if noun.endswith('ch') else 's'}"


def _tell_apart(names: Sequence[str]) -> list[str]:
    """The names of cells without the folders of the paths in them, where these tell none apart."""
    short = [re.sub(r"(?<=[=,\[\"'])[^=,\[\]\s]*/(?=[^/])", "", name) for name in names]
    return short if len(set(short)) == len(set(names)) else list(names)


def _short(path: Path) -> str:
    """A path as seen from here, where that is shorter."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
