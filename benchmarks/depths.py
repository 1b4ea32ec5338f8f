"""A batch of cells of different depths: cut where rows end, not cut, and its cells one by one."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from benchmarks.common import (
    MODEL,
    STYLE_LAYERS,
    Table,
    Work,
    arguments,
    canvases,
    default_cell,
    device_of,
    fastest,
    publish,
    repeated,
    weights,
)
from nst.core.cell import Cell
from nst.core.network import Reached, ignore
from nst.core.objective import Objective
from nst.core.precision import DTYPES, arithmetic
from nst.core.vgg import VGG, Pass

CUT = "cut where rows end"


class Whole(VGG):
    """All rows to the end."""

    def forward(self, images: Tensor, rows: object = None, reached: Reached = ignore) -> Pass:
        """As the network does it where no row ends early."""
        return super().forward(images, reached=reached)


def contestants(size: int, precision: str, device: torch.device) -> dict[str, Work]:
    """One evaluation of a cell for each of five layers, the deepest first."""
    layers = reversed(STYLE_LAYERS)
    cells = [replace(default_cell(size), content_layers={layer: 1.0}, style_layers={}) for layer in layers]

    def objective(kind: type[VGG], some: Sequence[Cell]) -> Objective:
        taps = {tap for cell in some for tap in cell.taps()}
        return Objective(kind(MODEL, weights(), taps, device=device, dtype=DTYPES[precision]), some)

    canvas = canvases(size, len(cells)).to(device)
    alone = [objective(VGG, [cell]) for cell in cells]

    def one_by_one() -> None:
        for row, each in enumerate(alone):
            each(canvas[row : row + 1])

    works: dict[str, Work] = {
        CUT: partial(objective(VGG, cells), canvas),
        "all rows to the end": partial(objective(Whole, cells), canvas),
        "one by one": one_by_one,
    }
    return {name: repeated(work, 1, device) for name, work in works.items()}


def main() -> None:
    """Print the tables."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    device, tables = device_of(options.device), []
    for precision in ("fp32", "bf16"):
        with arithmetic(precision):
            seconds = fastest(contestants(options.size, precision, device), device, options.repeats)
        table = Table(
            f"{precision}, {options.size} px, content at conv1_1 to conv5_1",
            ["batch", "milliseconds an iteration", "ratio"],
        )
        for name, each in seconds.items():
            table.add(name, each * 1e3, each / seconds[CUT])
        tables.append(table)
    publish("Cells of several depths", tables, device, options.out)


if __name__ == "__main__":
    main()
