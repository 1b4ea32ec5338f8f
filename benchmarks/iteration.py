"""One iteration of one canvas by its parts, against the floor: its convolutions timed alone."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import (
    MODEL,
    Table,
    Work,
    arguments,
    canvases,
    check_sane,
    default_cell,
    device_of,
    fastest,
    objective,
    optimizer_of,
    publish,
    repeated,
    weights,
)
from benchmarks.plain import PlainLoop
from nst import losses
from nst.engine import DTYPES, Engine, arithmetic
from nst.objective import Objective
from nst.vgg import VGG, Pass, Tap

FORMATS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}


def convolutions(network: VGG, run: Pass) -> dict[str, Work]:
    """Each convolution of the network, forward and back to its input, by `layer/direction/format`."""
    works: dict[str, Work] = {}
    for name, layout in FORMATS.items():
        for stage, features in zip(network.stages, run.inputs, strict=True):
            x = features.contiguous(memory_format=layout)
            weight = stage.weight.contiguous(memory_format=layout)
            gradient = torch.randn_like(F.conv2d(x, weight, stage.bias, padding=1))
            forward = partial(F.conv2d, x, weight, stage.bias, padding=1)
            backward = partial(
                torch.ops.aten.convolution_backward,
                *(gradient, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
                [True, False, False],
            )
            works |= {f"{stage.layer}/{way}/{name}": work for way, work in
                      (("forward", forward), ("backward", backward))}  # fmt: skip
    return works


def the_rest(goal: Objective, run: Pass, canvas: Tensor) -> dict[str, Work]:
    """What an iteration does besides its convolutions, as the engine does it, by part."""
    network = goal.network
    outputs = [*(Pass_output for Pass_output in run.inputs[1:]), run.last]
    ...
