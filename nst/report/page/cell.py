"""What the page knows of one cell: its canvas, what came out, what it was painted with."""

import csv
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from nst.io.files import open_text
from nst.io.text import as_written
from nst.report.page.frame_strip import spread
from nst.report.page.pictures import SMALL, Pictures
from nst.runs.painting import Painting
from nst.runs.reader import Run, canvas_size
from nst.runs.record import Status
from nst.tracking.tracked import TrackedRun, tracked_run

CURVE_POINTS = 150
MOST_POINTS = 40_000  # of a term on a page, so that the curves of a thousand cells are not most of it
SCORES = ("lpips_content", "style_distance")
TERMS = ("total", "content", "style", "tv")

RESULTS = {
    "lpips_content": (
        "LPIPS to content",
        "Perceptual distance (Zhang et al. 2018) from the canvas to the content image, by VGG-16 whatever "
        "painted it: 0 is the same image, lower is better.",
    ),
    "style_distance": (
        "style distance",
        "Relative distance of the canvas's Gram matrices (Gatys et al. 2016) from the style image's, "
        "by VGG-16 whatever painted it: 0 is the same style, lower is better.",
    ),
    "total": ("total loss", "The final total loss: the weighted sum of the three terms."),
    "content": ("content loss", "The final content loss, unweighted."),
    "style": ("style loss", "The final style loss, unweighted."),
    "tv": ("total variation", "The final total variation, unweighted."),
    "to_common_loss": (
        "to the common loss",
        "Evaluations until the total loss was for the first time as low as it is, in the end, in every cell "
        "of this grid with the same objective (images, layers, weights, size).",
    ),
    "painting_seconds": ("painting, s", "Seconds of painting; cells of one batch were painted together."),
    "iterations_per_second": ("iterations/s", "Iterations a second."),
}
"""The numbers a page shows of a cell: the head of their column, and what they are."""


@dataclass(frozen=True)
class Cell:
    """A run directory as the page shows it: the page's cell `number`; `label` says which of the grid's it is.

    `to_common_loss` is its place among the runs with its objective, as `nst.report.same_loss` has it;
    `watched`, whether its sweep is being painted.
    """

    run: Run
    number: int
    label: str
    pictures: Pictures
    to_common_loss: int | None = None
    watched: bool = False

    @cached_property
    def painting(self) -> Painting | None:
        """How far it is, while it is painted."""
        return Painting.of(self.run.folder, self.run.record) if self.watched else None

    @property
    def share(self) -> float:
        """How much of it is painted, up to 1."""
        waiting = self.run.record.status in (Status.RUNNING, Status.MISSING)
        return self.painting.share if self.painting else float(not waiting)

    @property
    def picture(self) -> str:
        """The name of the file that has its canvas."""
        return Painting.PICTURE if self.painting else "canvas.png"

    @cached_property
    def canvas(self) -> str | None:
        """The address of the canvas, final, so far, or the last finite one; None if it has none."""
        shown = self.painting or self.run.record.has_canvas
        return self.pictures.read(self.run.folder / self.picture, self.pictures.side) if shown else None

    @cached_property
    def state(self) -> tuple[str, str]:
        """What became of it in a word, and why or what else there is to know."""
        record = self.run.record
        if self.watched and record.status in (Status.RUNNING, Status.MISSING):
            if record.status is Status.MISSING:
                return "waiting", ""
            return "painting", self.painting.text if self.painting else ""
        if record.finished and self.canvas:
            return record.status.label, f"taken from {record.taken_from}" if record.taken_from else ""
        return record.why_no_canvas(self.run.folder.name)

    @property
    def outcome(self) -> str:
        """The same as a line."""
        return ": ".join(filter(None, self.state))

    @property
    def note(self) -> str | None:
        """What is to be known of the canvas that is shown."""
        record = self.run.record
        if not self.canvas:
            return None
        if self.painting:
            return self.painting.text
        if record.status is Status.DIVERGED:
            return f"diverged at iteration {record.diverged_at}"
        return f"taken from {'/'.join(record.taken_from.parts[-3:])}" if record.taken_from else None

    @cached_property
    def parameters(self) -> dict[str, str]:
        """Its config, flat, as people write it."""
        return {key: as_written(value) for key, value in self.run.parameters().items()}

    @cached_property
    def tracked(self) -> TrackedRun | None:
        """Where MLflow has it."""
        return tracked_run(self.run.folder)

    @property
    def small(self) -> bool:
        """Whether its pixels are to be seen as such."""
        return self.size is not None and max(self.size) < SMALL

    @cached_property
    def results(self) -> dict[str, float]:
        """Its numbers by their key in `RESULTS`, as far as there are any."""
        record = self.run.record
        found = {**record.final, **record.scores, **record.timings}
        if self.painting:
            found |= self.painting.losses
        if self.to_common_loss is not None:
            found["to_common_loss"] = self.to_common_loss
        return {key: float(found[key]) for key in RESULTS if key in found}

    def curve(self, points: int) -> dict[str, list[float | None]] | None:
        """Some `points` of its loss curves: their iterations "at", and each term's values there.

        What a logarithmic axis has no place for is None. Without a table of losses, None.
        """
        try:
            now = self.painting
            with open_text(self.run.folder / (now.table if now else "losses.csv")) as file:
                rows = list(csv.DictReader(file))
            rows = rows[: now.iteration + 1] if now else rows  # behind them may be half a line
            at = [int(row["iteration"]) for row in rows]
            shown = set(spread(tuple(at), points))
            kept = [row for row, iteration in zip(rows, at, strict=True) if iteration in shown]
            curve = {term: [_point(row[term]) for row in kept] for term in TERMS}
        except (OSError, ValueError, LookupError, TypeError, csv.Error):
            return None
        return {"at": [float(iteration) for iteration in sorted(shown)], **curve} if kept else None

    @cached_property
    def size(self) -> tuple[int, int] | None:
        """Pixels of its canvas across and down; None if it has none."""
        return canvas_size(self.run.folder, self.picture) if self.canvas else None

    def about(self) -> list[tuple[str, str]]:
        """What is known of its run, as lines of a name and a value."""
        record, tracked = self.run.record, self.tracked
        lines = {
            "state": self.outcome,
            "folder": str(self.run.folder.resolve()),
            "started": moment(record.started),
            "ended": moment(record.ended),
            "device": record.device,
            "precision": record.precision,
            "model": record.model.name,
            "MLflow run": tracked and (tracked.address or tracked.run_id),
            "identity": record.identity,
        }
        return [(name, str(value)) for name, value in lines.items() if value]

    def commands(self, program: Sequence[str]) -> list[tuple[str, str]]:
        """What paints this cell alone, as it is and larger: for what, and the command."""
        side = max(self.size or (0,))
        paint = shlex.join([*program, *self.run.typed])
        larger = shlex.join(
            ["python", "-m", "nst.replay", str(self.run.folder.resolve()), f"size={max(512, 2 * side)}"]
        )
        return [("This canvas", paint), *([("Larger", larger)] if side else [])]


def number(value: float) -> str:
    """A number to four digits, as it is read: 1,234 and 0.01234, 1.234e+08 only where it must be."""
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3e}"
    if abs(value) < 1:
        return f"{value:.4g}"
    return f"{value:,.{max(4 - len(str(int(abs(value)))), 0)}f}"


def moment(text: str | None) -> str:
    """A moment in ISO 8601 to the second, as it is read."""
    return re.sub(r"\.\d+", "", text).replace("T", " ").replace("+00:00", " UTC") if text else ""


def _point(text: str) -> float | None:
    value = float(text)
    return float(f"{value:.4g}") if 0 < value < math.inf else None
