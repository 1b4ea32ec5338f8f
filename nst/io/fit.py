"""The shape that an image is read in."""

from enum import Enum

# How an image is brought to a size: squashed to a square, with its own shape and a long side of that size, or
# its middle as a square.
Fit = Enum("Fit", "square keep crop")


def fitted(shape: tuple[int, int], size: int, fit: Fit) -> tuple[int, int]:
    """(height, width) that an image of such a shape has when it is read at `size`."""
    if fit is not Fit.keep:
        return size, size
    height, width = (max(1, round(size * side / max(shape))) for side in shape)
    return height, width
