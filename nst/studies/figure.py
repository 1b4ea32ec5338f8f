"""A verdict as a picture: every pair, the interval, and the canvases that show the claim best and least."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib.image
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from nst.io.color import SRGB
from nst.io.files import atomic_write
from nst.report.grid import LAYERS_OF
from nst.runs.reader import read_run
from nst.runs.verdict_record import EffectRecord, PairRecord, VerdictRecord

NAME = "verdict.png"
WIDTH, DPI = 9.6, 100  # inches, pixels an inch
PLOT, TILE, HEAD = 3.0, 1.5, 0.95  # inches high: the plots of a measure, a row of canvases, the heading
INK, GREY, RULE = "#1a1a1a", "#6b6b6b", "#e4e4e4"
AGREES, DISAGREES = "#0072b2", "#d55e00"  # Okabe and Ito's, which the colour-blind can tell apart
COLORS = {"supported": "#007a53", "refuted": "#b33c00", "open": GREY}
MOST_TILES = 6


def draw(folder: Path, verdict: VerdictRecord, path: Path | None = None) -> Path:
    """Write `verdict.png` into a study's folder, or a JPEG elsewhere; return its path.

    Left, each pair as a line from condition to condition; right, the effect of each pair with the mean and
    its interval, beside the bound that it is judged by. Below, canvases of two pairs.
    """
    shown = [effect for effect in verdict.effects if effect.pairs]
    rows = _extremes(shown[0].pairs) if shown else []
    height = HEAD + PLOT * len(shown) + TILE * len(rows) + 0.2
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    _heading(figure, verdict, height)
    top = HEAD
    for effect in shown:
        box = 1 - (top + PLOT - 0.55) / height, (PLOT - 0.9) / height
        _lines(figure.add_axes((0.075, box[0], 0.5, box[1])), effect, _conditions(verdict))
        _interval(figure.add_axes((0.68, box[0], 0.29, box[1])), effect, verdict)
        top += PLOT
    for name, pair in rows:
        _canvases(figure, folder, name, pair, _conditions(verdict), top, height)
        top += TILE
    with atomic_write(path or folder / NAME) as temporary:
        if path:
            figure.savefig(temporary, format="jpeg", pil_kwargs={"quality": 85})
        else:
            figure.savefig(temporary, format="png", pil_kwargs={"pnginfo": SRGB})
    return path or folder / NAME


def _conditions(verdict: VerdictRecord) -> list[str]:
    """Those of both sides, as they were listed where there are few of either."""
    return [name for side in verdict.sides for name in side]


def _heading(figure: Figure, verdict: VerdictRecord, height: float) -> None:
    claim = "\n".join(textwrap.wrap(verdict.claim, 88, max_lines=2, placeholder=" …"))
    # No TeX: a claim may hold a dollar sign.
    figure.text(
        0.02, 1 - 0.1 / height, claim, fontsize=12, color=INK, va="top", weight="bold", parse_math=False
    )
    line = "\n".join(textwrap.wrap(verdict.text, 130, max_lines=2, placeholder=" …"))
    color = COLORS.get(verdict.verdict, GREY)
    figure.text(0.02, 1 - 0.55 / height, line, fontsize=9, color=color, va="top", parse_math=False)


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=8, labelcolor=GREY, length=0)
    axes.grid(color=RULE, linewidth=0.8, axis="y")
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def _lines(axes: Axes, effect: EffectRecord, conditions: Sequence[str]) -> None:
    """Each pair as a line through what its conditions measured."""
    places = range(len(conditions))
    for number, pair in enumerate(effect.pairs):
        color = AGREES if number < effect.agree else DISAGREES
        axes.plot(
            places, [pair.values[name] for name in conditions], color=color, lw=1, alpha=0.65, marker="."
        )
    means = [sum(pair.values[name] for pair in effect.pairs) / len(effect.pairs) for name in conditions]
    axes.plot(places, means, color=INK, lw=2.4, marker="o", ms=4)
    axes.set_xticks(list(places), [textwrap.shorten(name, 16, placeholder="…") for name in conditions])
    axes.set_xlim(-0.25, len(conditions) - 0.75)
    unit = f" ({effect.unit})" if effect.unit else ""
    axes.set_title(
        f"{effect.measure}{unit}, a line a pair, mean in black", fontsize=9, color=GREY, loc="left"
    )
    _plain(axes)


def _interval(axes: Axes, effect: EffectRecord, verdict: VerdictRecord) -> None:
    """The effect of each pair, the mean with its interval, and the bound."""
    ratio = verdict.by == "ratio"
    none = 1.0 if ratio else 0.0
    axes.axvline(none, color=GREY, lw=1)
    if verdict.margin is not None:
        least = 1 / verdict.margin if ratio else -verdict.margin
        axes.axvspan(least, verdict.margin, color=RULE, zorder=0)
    for number, pair in enumerate(effect.pairs):
        color = AGREES if number < effect.agree else DISAGREES
        axes.plot(pair.effect, -number, ".", color=color, ms=6)
    below = -len(effect.pairs) - 0.5
    if effect.low is not None and effect.high is not None:
        axes.plot([effect.low, effect.high], [below, below], color=INK, lw=2.4, solid_capstyle="butt")
    if effect.effect is not None:
        axes.plot(effect.effect, below, "o", color=INK, ms=6)
    if ratio:
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        # Within a factor of 3 even steps are read best.
        even = MaxNLocator(5, steps=[1, 2, 5, 10])
        axes.xaxis.set_major_locator(even if high < 3 * low else LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:.3g}")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks([])
    axes.set_ylim(below - 1, 1)
    axes.set_title("effects, mean and 95% interval below", fontsize=9, color=GREY, loc="left")
    _plain(axes)
    axes.grid(color=RULE, linewidth=0.8, axis="x")


def _extremes(pairs: Sequence[PairRecord]) -> list[tuple[str, PairRecord]]:
    """The pairs that show the claim best and least."""
    return [("best", pairs[0]), ("least", pairs[-1])] if len(pairs) > 1 else [("the one pair", pairs[0])]


def _canvases(
    figure: Figure,
    folder: Path,
    name: str,
    pair: PairRecord,
    conditions: Sequence[str],
    top: float,
    height: float,
) -> None:
    """A row with the images that a pair is painted from, and a canvas of each condition."""
    label = f"{name}: {pair.name}"
    figure.text(0.02, 1 - (top + 0.02) / height, label, fontsize=9, color=INK, va="top", parse_math=False)
    shown = [condition for condition in conditions if condition in pair.runs][:MOST_TILES]
    first = Path(pair.runs[shown[0]])
    used = LAYERS_OF.get(str(read_run(folder / first).value("mode")), ("content", "style"))
    tiles = [(first / f"{kind}.png", kind) for kind in used]
    tiles += [(Path(pair.runs[each], "canvas.png"), f"{each} {pair.values[each]:.3g}") for each in shown]
    for number, (place, title) in enumerate(tiles):
        side = TILE - 0.5
        box = (0.02 + number * (side + 0.18) / WIDTH, 1 - (top + 0.36 + side) / height)
        axes = figure.add_axes((*box, side / WIDTH, side / height))
        axes.set_axis_off()
        try:
            axes.imshow(matplotlib.image.imread(folder / place), interpolation="nearest", cmap="gray")
        except (OSError, SyntaxError, ValueError):
            axes.text(0.5, 0.5, "no picture", fontsize=8, color=GREY, ha="center")
        short = textwrap.shorten(title, 20, placeholder="…")
        axes.set_title(short, fontsize=8, color=GREY, pad=2, parse_math=False)
