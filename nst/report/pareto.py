"""What came of a search as a picture: its trials, and the canvases along their Pareto front."""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from nst.io.color import SRGB
from nst.io.files import atomic_write
from nst.report.contact_sheet import AIR, GAP, MARGIN, PAPER, canvas_tile
from nst.report.text_layout import HEAD, INK, SMALL, TITLE, Block
from nst.runs.reader import read_run
from nst.runs.search import Search, Trial

SIDE, ACROSS, MOST = 192, 6, 12  # pixels of a canvas, canvases a row, canvases in all
WIDTH = 2 * MARGIN + ACROSS * (SIDE + GAP) - GAP
HEIGHT = 460  # of the plot, in pixels
DPI = 100
FRONT, OTHER = "#d55e00", "#9aa7b0"


def draw_pareto_front(search: Search, title: str) -> Path:
    """Write `front.png` into a search's folder; return its path.

    Above, all trials by their values: two objectives against each other, one against the trial's
    number. Below, the canvases along the front by the first value, with what they were painted with.
    """
    best = search.best()
    shown = _spread(best, MOST)
    notes = [_notes(search, trial) for trial in shown]
    heading = Block.fit(title, WIDTH - 2 * MARGIN, 1, TITLE, INK)
    top = MARGIN + heading.height + AIR
    step = SIDE + max((block.height for block in notes), default=0) + GAP + AIR
    rows = -(-len(shown) // ACROSS)
    page = Image.new("RGB", (WIDTH, top + HEIGHT + GAP + rows * step + MARGIN), PAPER)
    pen = ImageDraw.Draw(page)
    for text in heading.place(MARGIN, MARGIN, "la"):
        text.draw(pen)
    page.paste(_plot(search, best, shown), (MARGIN, top))
    for place, (trial, note) in enumerate(zip(shown, notes, strict=True)):
        x = MARGIN + place % ACROSS * (SIDE + GAP)
        y = top + HEIGHT + GAP + place // ACROSS * step
        page.paste(canvas_tile(read_run(search.folder / str(trial.number)), (SIDE, SIDE)), (x, y))
        for text in note.place(x, y + SIDE + AIR, "la"):
            text.draw(pen)
    path = search.folder / "front.png"
    with atomic_write(path) as temporary:
        page.save(temporary, pnginfo=SRGB)
    return path


def _notes(search: Search, trial: Trial) -> Block:
    """The trial's number, its values, and what varied."""
    block = Block.fit(f"trial {trial.number}", SIDE, 1, HEAD, INK)
    for name, value in zip(search.goal.names, trial.values or [], strict=True):
        block += Block.fit(f"{name} {value:.4g}", SIDE, 2, SMALL, INK)
    for key, value in trial.params.items():
        block += Block.fit(f"{key}={value}", SIDE, 2, SMALL)
    return block


def _plot(search: Search, best: Sequence[Trial], shown: Sequence[Trial]) -> Image.Image:
    size = (WIDTH - 2 * MARGIN, HEIGHT)
    figure = Figure(figsize=(size[0] / DPI, size[1] / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.07, 0.13, 0.9, 0.82))
    known = [trial for trial in search.trials() if trial.values]
    names = search.goal.names if len(search.goal.names) > 1 else ("trial", search.goal.names[0])

    def at(trial: Trial) -> tuple[float, float]:
        values = trial.values or []
        return (values[0], values[1]) if len(values) > 1 else (trial.number, values[0])

    numbers = {trial.number for trial in best}
    others = [at(trial) for trial in known if trial.number not in numbers]
    if others:
        x, y = zip(*others, strict=True)
        axes.scatter(x, y, color=OTHER, s=28, label="other trials")
    if best:
        x, y = zip(*(at(trial) for trial in best), strict=True)
        axes.plot(x, y, color=FRONT, lw=1, drawstyle="steps-post", alpha=0.6)
        label = "Pareto front" if len(search.goal.names) > 1 else "best"
        axes.scatter(x, y, color=FRONT, s=44, label=label, zorder=3)
    for trial in shown:
        axes.annotate(str(trial.number), at(trial), textcoords="offset points", xytext=(6, 6), fontsize=9)
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    axes.grid(color="#e4e4e4", lw=0.8)
    axes.set_axisbelow(True)
    if known:
        axes.legend(frameon=False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return Image.open(drawn).convert("RGB")


def _spread(trials: list[Trial], most: int) -> list[Trial]:
    """At most so many of them, evenly, the first and the last included."""
    if len(trials) <= most:
        return trials
    return [trials[round(place * (len(trials) - 1) / (most - 1))] for place in range(most)]
