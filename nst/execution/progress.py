"""The progress of batches, whichever executor paints them: bars on a terminal, plain lines in a log."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from nst.execution.console_handler import console

log = logging.getLogger(__name__)

SECONDS_A_LINE = 10.0
MOST_LINES = 4  # at a time: of more batches only how much is painted in all
NARROW = 100  # columns below which the bar is short
BAR, SHORT_BAR = 16, 6
# "1000.0 it/s", "0:00:00" and spaces; the label and the losses have what these, the bar and the count leave.
ALWAYS = 11 + 7 + 5


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
def progress_display(costs: Mapping[str, float]) -> Iterator[ProgressDisplay]:
    """A display, until it is left, for the batches of these labels, each with what it costs."""
    if not console.is_terminal:
        yield _Lines(costs)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=_bar()),
        TextColumn("{task.fields[count]}", justify="right"),
        TextColumn("{task.fields[rate]}", justify="right"),
        TextColumn("{task.fields[left]}", justify="right", style="progress.remaining"),
        TextColumn("{task.fields[loss]}", markup=False),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as bars:
        yield _Bars(bars, costs)


class _Pace:
    """How fast a share grows, from when it was first seen: what was there then may have been resumed."""

    def __init__(self, share: float = 0.0) -> None:
        self.began, self.first = time.monotonic(), share

    def rate(self, share: float) -> float:
        """What is added in a second."""
        return (share - self.first) / max(time.monotonic() - self.began, 1e-9)

    def left(self, share: float) -> float:
        """Seconds until all is done; infinite where that cannot be told."""
        rate = self.rate(share)
        return (1 - share) / rate if rate > 0 else math.inf


class _Whole:
    """How far all batches are, counted by what they cost."""

    def __init__(self, costs: Mapping[str, float]) -> None:
        self._costs, self._all = costs, sum(costs.values())
        self._shares: dict[str, float] = {}
        self._began_with = 0.0  # work that was there when its batch was first seen
        self._began = time.monotonic()

    def see(self, label: str, share: float) -> None:
        """Note how far a batch is."""
        if label not in self._shares and share < 1:
            self._began_with += share * self._costs[label]
        self._shares[label] = share

    @property
    def share(self) -> float:
        """Up to 1."""
        return sum(share * self._costs[label] for label, share in self._shares.items()) / self._all

    @property
    def left(self) -> float:
        """Seconds until all is painted; infinite where that cannot be told."""
        done = self.share - self._began_with / self._all
        return (1 - self.share) * (time.monotonic() - self._began) / done if done > 0 else math.inf


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds < math.inf else "-:--:--"


def _bar() -> int:
    return SHORT_BAR if console.width < NARROW else BAR


class _Bars:
    """A bar for each batch that is painted, if these are few, and above them one for all.

    Where the terminal is narrow the losses are left out and the label is cut, and nothing else is.
    """

    def __init__(self, bars: Progress, costs: Mapping[str, float]) -> None:
        self._bars, self._whole = bars, _Whole(costs)
        self._sweep = self._add(f"{len(costs)} batches") if len(costs) > 1 else None
        self._tasks: dict[str, tuple[TaskID, _Pace]] = {}

    def update(self, label: str, progress: BatchProgress) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._add(label), _Pace(progress.share)
        task, pace = self._tasks[label]
        count = f"{progress.iteration}/{progress.iterations}"
        most = 2 * len(str(progress.iterations)) + 1
        room = console.width - _bar() - most - ALWAYS
        name = Text(label)
        name.truncate(max(room, 8), overflow="ellipsis")
        rate = pace.rate(progress.share)
        self._bars.update(
            task,
            description=name.plain,
            visible=list(self._tasks).index(label) < MOST_LINES,
            completed=progress.share,
            count=count,
            rate=f"{rate / progress.each:.1f} it/s" if rate > 0 else "- it/s",
            left=_clock(pace.left(progress.share)),
            loss=progress.loss if name.cell_len + len(progress.loss) < room else "",
        )
        self._see(label, progress.share)

    def finish(self, label: str) -> None:
        if label in self._tasks and self._sweep is not None:
            self._bars.remove_task(self._tasks.pop(label)[0])
        self._see(label, 1.0)

    def _add(self, label: str) -> TaskID:
        return self._bars.add_task(label, total=1, count="", rate="", left=_clock(math.inf), loss="")

    def _see(self, label: str, share: float) -> None:
        self._whole.see(label, share)
        if self._sweep is not None:
            share, left = self._whole.share, self._whole.left
            self._bars.update(self._sweep, completed=share, count=f"{share:.0%}", left=_clock(left))


class _Lines:
    """Every ten seconds a log line for each batch that is painted, if these are few, and one for all."""

    def __init__(self, costs: Mapping[str, float]) -> None:
        self._batches, self._whole = len(costs), _Whole(costs)
        self._painted: dict[str, tuple[BatchProgress, _Pace]] = {}
        self._last = time.monotonic()

    def update(self, label: str, progress: BatchProgress) -> None:
        _, pace = self._painted.get(label) or (None, _Pace(progress.share))
        self._painted[label] = progress, pace
        self._whole.see(label, progress.share)
        if time.monotonic() - self._last < SECONDS_A_LINE:
            return
        self._last = time.monotonic()
        if len(self._painted) <= MOST_LINES:
            for known in self._painted:
                self._line(known)
        if self._batches > 1:
            log.info(
                "%.0f%% of %d batches painted, %d in progress%s",
                100 * self._whole.share,
                self._batches,
                len(self._painted),
                _told(self._whole.left),
            )

    def finish(self, label: str) -> None:
        if label in self._painted:
            self._line(label)
            del self._painted[label]
        self._whole.see(label, 1.0)

    def _line(self, label: str) -> None:
        progress, pace = self._painted[label]
        log.info(
            "%s: %d/%d iterations, %.1f it/s%s, %s",
            label,
            progress.iteration,
            progress.iterations,
            pace.rate(progress.share) / progress.each,
            _told(pace.left(progress.share)),
            progress.loss,
        )


def _told(seconds: float) -> str:
    """The time that is left, as the end of a phrase."""
    if not 0 < seconds < math.inf:
        return ""
    return f", {seconds:.0f} s left" if seconds < 90 else f", {_clock(seconds)} left"
