"""The loss curves of a run as a picture, drawn from its files."""

import textwrap
import warnings
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from nst.errors import NstError
from nst.io.color import SRGB
from nst.io.files import atomic_write, format_error, open_text
from nst.report.grid import LAYERS_OF
from nst.runs.reader import Run, read_run

WIDTH, HEIGHT, DPI = 800, 500, 100  # pixels
LEFT, BOTTOM, ACROSS, UP = 0.11, 0.145, 0.68, 0.66  # the plot's share of them
TITLE, LETTERS = 14, 13  # type sizes, in points
LEADING = 0.085  # of the plot's height, from one label to the next
GREY, RULE = "#6b6b6b", "#e4e4e4"

# Okabe and Ito's colours, which the colour-blind can tell apart.
INKS = {"total": "#1a1a1a", "content": "#0072b2", "style": "#d55e00", "tv": "#009e73"}

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Curves = dict[str, np.ndarray]


def losses_png(run_dir: Path) -> Path:
    """Write `losses.png`, a run's total loss and its weighted terms by iteration; return its path.

    A term is left out if the mode has none, or if its weight is 0. The loss axis is logarithmic, so
    a value of 0 is a gap in its curve; each scale is marked where it begins. It needs losses.csv and
    .hydra/config.yaml and no more, and draws without pyplot: on any thread, while run.json still says that
    the run is running.

    Raises:
        NstError: losses.csv is missing, or is no table of losses.
    """
    run = read_run(run_dir)
    iterations, curves = _read(run)
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    name = run.record.name or run_dir.resolve().name
    lines = textwrap.wrap(name, 68, max_lines=2, placeholder=" …")
    # No TeX: a name may hold a dollar sign.
    figure.text(
        LEFT, 0.955, "\n".join(lines), fontsize=TITLE, color=INKS["total"], va="top", parse_math=False
    )
    axes = figure.add_axes((LEFT, BOTTOM, ACROSS, UP))
    _draw(axes, iterations, curves)
    _mark_scales(axes, run.record.scales)
    path = run_dir / "losses.png"
    with atomic_write(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font lacks
        figure.savefig(temporary, pil_kwargs={"pnginfo": SRGB})
    return path


def _read(run: Run) -> tuple[np.ndarray, Curves]:
    """The iterations of a run, and the curves of its picture."""
    path = run.folder / "losses.csv"
    weights = {"total": 1.0}
    for kind in (*LAYERS_OF.get(str(run.value("mode")), ()), "tv"):
        weights[kind] = float(run.value(f"weights.{kind}") or 0)
    shown = [kind for kind, weight in weights.items() if weight > 0]
    try:
        with open_text(path) as file:
            header = file.readline().strip().split(",")
            columns = [header.index(name) for name in ("iteration", *shown)]
            table = np.loadtxt(file.readlines() or ["no rows"], delimiter=",", usecols=columns, ndmin=2)
    except FileNotFoundError:
        raise NstError(f"{path}: no such file; give the folder of a run that was painted") from None
    except OSError as error:
        raise NstError(f"{format_error(error, path)}; paint the run again") from None
    except ValueError as error:
        raise NstError(f"{path}: no table of losses ({error}); paint the run again") from None
    return table[:, 0], {kind: weights[kind] * table[:, n] for n, kind in enumerate(shown, 1)}


def _draw(axes: Axes, iterations: np.ndarray, curves: Curves) -> None:
    """Draw the curves into a plot, each with its name where it ends."""
    # On a log axis there is no place for 0.
    visible = {name: np.where(values > 0, values, np.nan) for name, values in curves.items()}
    visible = {name: values for name, values in visible.items() if not np.isnan(values).all()}
    for name, values in visible.items():
        alone = "o" if np.isfinite(values).sum() == 1 else None
        width = 4.5 if name == "total" else 1.8  # seen on both sides of a term that is nearly all of it
        axes.plot(iterations, values, color=INKS[name], linewidth=width, marker=alone, clip_on=alone is None)
    axes.set_yscale("log")
    low = min((np.nanmin(values) for values in visible.values()), default=1.0)
    high = max((np.nanmax(values) for values in visible.values()), default=1.0)
    margin = 1.2 * max(1.0, (10 * low / high) ** 0.5)  # at least a decade, so that it has ticks
    axes.set_ylim(low / margin, high * margin)
    axes.set_xlim(iterations[0], max(iterations[-1], iterations[0] + 1))

    axes.yaxis.set_major_locator(LogLocator(10, (1.0,) if high > 100 * low else (1.0, 2.0, 5.0), numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("iteration", fontsize=LETTERS, color=GREY)
    what = "loss, weighted" if visible else "every loss is 0"
    axes.set_title(what, fontsize=LETTERS, color=GREY, loc="left", pad=8, y=1)  # else searched for
    axes.tick_params(labelsize=LETTERS, labelcolor=GREY, length=0)
    axes.grid(color=RULE, linewidth=1)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    _label(axes, {name: values[np.isfinite(values)][-1] for name, values in visible.items()})


def _mark_scales(axes: Axes, scales: Mapping[str, int]) -> None:
    """Rule off each scale, where losses jump, and write its size at the top."""
    begins = [0, *accumulate(scales.values())]
    for begin, size in zip(begins, scales, strict=False):
        axes.axvline(begin, color=GREY, linewidth=1, linestyle=":")
        axes.text(
            begin, 0.99, f" {size} px", transform=axes.get_xaxis_transform(), fontsize=9, color=GREY, va="top"
        )


def _label(axes: Axes, ends: dict[str, float]) -> None:
    """Write each curve's name and last value right of the plot, level with its end or just above."""
    lowest, highest = np.log(axes.get_ylim())
    free = 0.0
    for name, value in sorted(ends.items(), key=lambda end: (end[1], end[0] == "total")):
        height = max(free, (np.log(value) - lowest) / (highest - lowest))
        free = height + LEADING
        axes.text(
            1.02,
            height,
            f"{name} {_number(value)}",
            transform=axes.transAxes,
            fontsize=LETTERS,
            color=INKS[name],
            va="center",
        )


def _number(value: float) -> str:
    """Two digits of a number, as short as may be: 0.05, 120, 3.4·10⁵."""
    if 1e-3 <= value < 1e5:
        return f"{float(f'{value:.2g}'):,g}"
    digits, _, power = f"{value:.1e}".partition("e")
    raised = str(int(power)).translate(SUPERSCRIPTS)
    return f"10{raised}" if digits == "1.0" else f"{digits.removesuffix('.0')}·10{raised}"
