"""The progress of batches, whichever executor paints them: bars on a terminal, plain lines in a log."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from nst.execution.console_handler import console

log = logging.getLogger(__name__)

SECONDS_A_LINE = 10.0
MOST_LINES = 4  # at a time: of more batches only how much is painted in all
BAR = 16
# The bar, "100000/100000", "1000.0 it/s", "0:00:00" and spaces; the label and the losses have the rest.
ALWAYS = BAR + 13 + 11 + 7 + 5


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is.

    Attributes:
        iteration, iterations: done, and in all.
        losses: the lowest and the highest finite total loss of its cells; None if there is none.
        share: of its arithmetic that is done, up to 1.
        each: what an iteration adds to it at present.
    """

    iteration: int
    iterations: int
    losses: tuple[float, float] | None
    share: float
    each: float

    @classmethod
    def of(
        cls, iteration: int, costs: Sequence[tuple[int, float]], totals: Sequence[float]
    ) -> "BatchProgress":
        """That of a batch whose cells have these total losses.

        Args:
            iteration: done.
            costs: at each scale, its iterations and what one costs.
            totals: the total losses.
        """
        finite = [total for total in totals if math.isfinite(total)]
        ends = list(accumulate(count for count, _ in costs))
        at = next(n for n, end in enumerate(ends) if iteration <= end)
        each, left = costs[at][1], ends[at] - iteration
        done, whole = (sum(count * cost for count, cost in some) for some in (costs[: at + 1], costs))
        losses = (min(finite), max(finite)) if finite else None
        return cls(iteration, ends[-1], losses, (done - left * each) / whole, each / whole)

    @property
    def loss(self) -> str:
        """The losses as they are shown."""
        if self.losses is None:
            return "no finite loss"
        low, high = self.losses
        return f"loss {low:.4g}" if low == high else f"loss {low:.4g} to {high:.4g}"


ProgressCallback = Callable[[BatchProgress], None]


class ProgressDisplay(Protocol):
    """What executors report to. A batch is known by its label."""

    def update(self, label: str, progress: BatchProgress) -> None:
        """Show how far a batch is."""
        ...

    def finish(self, label: str) -> None:
        """Count a batch as painted."""
        ...


@contextmanager
def progress_display(batches: int) -> Iterator[ProgressDisplay]:
    """A display for so many batches, until it is left."""
    if not console.is_terminal:
        yield _Lines(batches)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=BAR),
        TextColumn("{task.fields[count]}", justify="right"),
        TextColumn("{task.fields[rate]}", justify="right"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[loss]}", markup=False),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as bars:
        yield _Bars(bars, batches)


class _Bars:
    """A bar for each batch that is painted, if these are few, and above them one for all.

    Where the terminal is narrow the losses are left out and the label is cut, and nothing else is.
    """

    def __init__(self, bars: Progress, batches: int) -> None:
        self._bars, self._batches = bars, batches
        self._whole = self._add(f"{batches} batches", batches) if batches > 1 else None
        self._shares: dict[str, float] = {}
        self._tasks: dict[str, TaskID] = {}

    def update(self, label: str, progress: BatchProgress) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._add(label, 1)
        task = self._tasks[label]
        room = console.width - ALWAYS
        name = Text(label)
        name.truncate(max(room, 8), overflow="ellipsis")
        speed = self._bars.tasks[self._bars.task_ids.index(task)].speed
        self._bars.update(
            task,
            description=name.plain,
            visible=list(self._tasks).index(label) < MOST_LINES,
            completed=progress.share,
            count=f"{progress.iteration}/{progress.iterations}",
            rate=f"{speed / progress.each:.1f} it/s" if speed else "",
            loss=progress.loss if name.cell_len + len(progress.loss) < room else "",
        )
        self._share(label, progress.share)

    def finish(self, label: str) -> None:
        if label in self._tasks and self._whole is not None:
            self._bars.remove_task(self._tasks.pop(label))
        self._share(label, 1.0)

    def _add(self, label: str, total: int) -> TaskID:
        return self._bars.add_task(label, total=total, count="", rate="", loss="")

    def _share(self, label: str, share: float) -> None:
        self._shares[label] = share
        if self._whole is not None:
            painted = sum(self._shares.values())
            self._bars.update(self._whole, completed=painted, count=f"{painted / self._batches:.0%}")


class _Lines:
    """Every ten seconds a log line for each batch that is painted, if these are few, and one for all."""

    def __init__(self, batches: int) -> None:
        self._batches = batches
        self._finished = 0
        self._painted: dict[str, BatchProgress] = {}
        self._began: dict[str, tuple[float, float]] = {}  # when, and with what share done
        self._last = time.monotonic()

    def update(self, label: str, progress: BatchProgress) -> None:
        now = time.monotonic()
        self._painted[label] = progress
        self._began.setdefault(label, (now, progress.share))
        if now - self._last < SECONDS_A_LINE:
            return
        self._last = now
        if len(self._painted) <= MOST_LINES:
            for known in self._painted:
                self._line(known)
        if self._batches > 1:
            shares = [known.share for known in self._painted.values()]
            share = (self._finished + sum(shares)) / self._batches
            log.info("%.0f%% of %d batches painted, %d in progress", 100 * share, self._batches, len(shares))

    def finish(self, label: str) -> None:
        if label in self._painted:
            self._line(label)
            del self._painted[label], self._began[label]
        self._finished += 1

    def _line(self, label: str) -> None:
        progress, (began, first) = self._painted[label], self._began[label]
        rate = (progress.share - first) / max(time.monotonic() - began, 1e-9)
        left = (1 - progress.share) / rate if rate else math.inf
        log.info(
            "%s: %d/%d iterations, %.1f it/s%s, %s",
            label,
            progress.iteration,
            progress.iterations,
            rate / progress.each,
            f", {left:.0f} s left" if 0 < left < math.inf else "",
            progress.loss,
        )
