"""Coarse to fine: a canvas begins small, and is enlarged between stretches of iterations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

from nst.core.cell import Cell
from nst.core.options import Option
from nst.core.resizing import reduce
from nst.errors import NstError


@dataclass(frozen=True)
class Scale:
    """So many iterations at one size, which is the long side of the canvas in pixels."""

    size: int
    iterations: int


@dataclass
class Scales(Option):
    """The sizes that a canvas has while it is painted."""

    group: ClassVar[str] = "scales"

    def schedule(self, size: int, iterations: int) -> list[Scale]:
        """The scales, increasing, of a canvas that ends at `size`; the first has `iterations`."""
        raise NotImplementedError


@dataclass
class Single(Scales):
    """The final size from the beginning."""

    name: str = "single"

    def schedule(self, size: int, iterations: int) -> list[Scale]:
        return [Scale(size, iterations)]


@dataclass
class Pyramid(Scales):
    """From `smallest` by equal factors of about the square root of 2 (as Gatys et al., CVPR 2017, by 2).

    Attributes:
        smallest: the first size. A canvas that is not larger by the fourth root of 2 at least has one scale.
        iterations: of each further scale.
    """

    name: str = "pyramid"
    smallest: int = 128
    iterations: int = 100

    def schedule(self, size: int, iterations: int) -> list[Scale]:
        factor = size / self.smallest
        steps = max(round(2 * math.log2(factor)), 0)
        if steps == 0:
            return [Scale(size, iterations)]
        sizes = [round(self.smallest * factor ** (step / steps)) for step in range(1, steps + 1)]
        return [Scale(self.smallest, iterations), *(Scale(each, self.iterations) for each in sizes)]

    def check(self) -> None:
        for key, least in (("smallest", 2), ("iterations", 1)):
            if getattr(self, key) < least:
                raise NstError(
                    f"scales.{key}={getattr(self, key)}: must be at least {least}; give a larger number"
                )


def shape_at(whole: Sequence[int], share: Fraction) -> tuple[int, int]:
    """(height, width) of an image that is `whole` at the last scale, at one of a `share` of its size."""
    height, width = (max(1, round(side * share)) for side in whole)
    return height, width


def cells_at(cells: Sequence[Cell], share: Fraction) -> list[Cell]:
    """The cells at a scale of a `share` of the last one's size: with smaller images.

    These are made from the images of the last scale, which a run keeps: they are the same whoever paints it.
    An image that cells share they share at each scale. Masks stay as they are: a layer has the region of
    each of its positions from a mask of any size, and no region is lost at a small one.
    """
    if share == 1:
        return list(cells)
    images = {id(image): image for cell in cells for image in (cell.content, *cell.styles)}
    small = {key: reduce(image, shape_at(image.shape[1:], share)) for key, image in images.items()}
    return [
        replace(
            cell,
            content=small[id(cell.content)],
            styles=tuple(small[id(style)] for style in cell.styles),
        )
        for cell in cells
    ]
