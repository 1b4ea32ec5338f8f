"""What gives a row of a batch the same bits whatever the batch is, on the CPU.

Libraries choose a kernel, cut a product into blocks and share a sum among threads by the shape and the
alignment of what they are given, and a sum in another order rounds otherwise. The optimizer amplifies that
until the canvas is another one. So on the CPU whatever sums, multiplies matrices or fuses operations is given
one row at a time, as if that were all: `parts`. Left in one batch are

- the convolutions, because it pays there, so that a row's bits do not depend on others (`nst.core.vgg`);
- what rounds each number once or not at all: ReLUs, poolings, single sums, products and quotients by element.

What only some cells have, such as the term of a layer, must not move the sums of others: `ordered_sum`.

On CUDA launches are what costs, so there a batch is one part, and the bits are those of its shape.
"""

from dataclasses import fields, is_dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

State = TypeVar("State")


def parts(rows: int, device: torch.device) -> list[slice]:
    """The rows of a batch that are computed at a time: each for itself on the CPU, elsewhere all."""
    if device.type == "cpu":
        return [slice(row, row + 1) for row in range(rows)]
    return [slice(0, rows)]


def part(state: State, rows: slice) -> State:
    """Some rows of a dataclass of tensors `[B, ...]` and such dataclasses: views, to be changed in place."""
    assert is_dataclass(state)
    assert not isinstance(state, type)
    mine = {entry.name: getattr(state, entry.name) for entry in fields(state)}
    return replace(
        state,
        **{
            name: value[rows] if isinstance(value, Tensor) else part(value, rows)
            for name, value in mine.items()
        },
    )


def ordered_sum(x: Tensor) -> Tensor:
    """The sum over the last dimension, one number after the other, so that zeros among them change nothing.

    `sum` would add numbers up by their place; a running sum does not.
    """
    return x.cumsum(-1)[..., -1] if x.shape[-1] else x.sum(-1)
