"""Draws docs/architecture.svg from the imports of the code: packages as floors, imports as arrows down, the
thicker the more of them.

python docs/architecture.py docs/architecture.svg
"""

import ast
import sys
from collections import Counter
from pathlib import Path
from textwrap import fill

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

NST = Path(__file__).resolve().parent.parent / "nst"
ABOUT = {
    "app": "command line, Hydra callback, public API, replay",
    "execution": "a config becomes a cell, cells become batches, batches become run directories",
    "studies": "a claim, the statistics of its cells, the verdict",
    "report": "contact sheets, animations, loss curves, Pareto fronts, the page",
    "tracking": "a run directory becomes an MLflow run, in a process of its own",
    "measures": "numbers of a run that claims are about",
    "runs": "run and sweep directories: records, writer, checkpoints, index",
    "config": "the typed schema of conf/, checks that need no pixels",
    "io": "files, locks, signals, images, videos, weights",
    "core": "VGG, losses, objective, optimizers, engine, metrics: PyTorch only",
    "errors": "NstError: one line, exit code 2",
}
FLOORS = tuple(ABOUT)
INK, GREY, FACE = "#1a1a1a", "#6b6b6b", "#eef2f6"


def floor_of(module: str) -> str:
    """The package of `nst.x.y`; modules that are in none are the app's."""
    name = module.split(".")[1] if "." in module else "app"
    return name if name in FLOORS else "app"


def imports() -> Counter[tuple[str, str]]:
    """How many imports go from each floor to each other one, those inside functions included."""
    found: Counter[tuple[str, str]] = Counter()
    for path in NST.rglob("*.py"):
        module = ".".join(("nst", *path.relative_to(NST).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nst"):
                found[floor_of(module), floor_of(node.module)] += 1
    return Counter({pair: count for pair, count in found.items() if pair[0] != pair[1]})


def modules(floor: str) -> list[str]:
    """The names of the modules and packages on a floor."""
    top = NST if floor == "app" else NST / floor
    names = [path.stem for path in top.glob("*.py")]
    if floor != "app":
        names += [f"{path.name}/" for path in top.iterdir() if (path / "__init__.py").is_file()]
    skipped = {"__init__", "__main__", "errors"} if floor == "app" else {"__init__", "__main__"}
    return sorted(set(names) - skipped)


def draw(path: Path) -> None:
    """Write the picture."""
    figure = Figure(figsize=(11, 10.5))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 11), ylim=(0, len(FLOORS)))
    axes.axis("off")
    for index, floor in enumerate(reversed(FLOORS)):
        axes.fill((0.2, 8.0, 8.0, 0.2), (index + 0.1, index + 0.1, index + 0.9, index + 0.9), FACE)
        axes.text(0.35, index + 0.66, floor, fontsize=13, weight="bold", color=INK)
        axes.text(2.0, index + 0.67, ABOUT[floor], fontsize=9, color=INK)
        names = "  ".join(modules(floor)) if floor != "errors" else ""
        axes.text(0.35, index + 0.45, fill(names, 120), fontsize=8, color=GREY, va="top")
    places = {floor: len(FLOORS) - 1 - index for index, floor in enumerate(FLOORS)}
    for (above, below), count in sorted(imports().items()):
        start, end = places[above] + 0.5, places[below] + 0.5
        if below == "errors":  # from everywhere
            continue
        axes.annotate(
            "",
            (8.0, end),
            (8.0, start),
            arrowprops={
                "arrowstyle": "->",
                "color": INK if start > end else "red",
                "lw": 0.4 + count / 16,
                "connectionstyle": f"arc3,rad={-0.25 - 0.03 * abs(start - end)}",
                "alpha": 0.6,
            },
        )
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
