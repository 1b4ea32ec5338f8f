"""The sheets and the numbers of docs/experiments.md, from a sweep over the README's presets.

python docs/experiments.py outputs/glob/DATE docs/experiments
"""

import sys
from pathlib import Path

from PIL import Image

from nst.runs.reader import read_run
from nst.runs.sweep import run_folders, sweeps_in

QUALITY = 88  # of JPEG: a sheet of fifteen canvases is then about 200 kB
HEADS = ("cell", "total", "content", "style", "tv", "LPIPS to content", "style distance", "s", "precision")


def main(folder: Path, into: Path) -> None:
    """Write NAME.jpg for each sweep in `folder`, and cells.md with the numbers of all cells."""
    into.mkdir(parents=True, exist_ok=True)
    parts = [
        "# Every cell of the README's grids\n",
        "Losses are unweighted but for the total; s are seconds of ",
    ]
    parts[-1] += "painting of the cell's batch over its cells.\n"
    for sweep in sweeps_in(folder):
        name = sweep.name
        with Image.open(sweep / "sheet.png") as sheet:
            sheet.convert("RGB").save(into / f"{name}.jpg", quality=QUALITY, optimize=True)
        parts += [f"## {name}\n", _line(HEADS), _line(["---", *["---:"] * (len(HEADS) - 1)])]
        parts += [_cell(cell) for cell in run_folders(sweep)] + [""]
    (into / "cells.md").write_text("\n".join(parts))


def _cell(folder: Path) -> str:
    run = read_run(folder)
    overrides = [f"{key}={value}" for key, value in run.overrides.items()]
    varying = [part for part in overrides if part.split("=")[0] in ("variant", "activation", "optimizer")]
    layers = [f"{kind} {' '.join(run.layers(kind))}" for kind in ("content", "style")]
    record = run.record
    numbers = [record.final[key] for key in ("total", "content", "style", "tv")]
    numbers += [record.scores[key] for key in ("lpips_content", "style_distance")]
    seconds = record.timings["painting_seconds"] / record.batch_cells
    shown = [f"{number:.4g}" for number in numbers]
    return _line([", ".join([*varying, *layers]), *shown, f"{seconds:.0f}", str(record.precision)])


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
