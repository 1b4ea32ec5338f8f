"""Poolings of 2 x 2 windows with stride 2, each with its backward; rows of a batch never mix.

The weights were trained with maxima. Average and L2 pooling are multiplied by a constant, so that features
keep about the size that the next layers know (as crowsonkb/style-transfer-pytorch does, by measurements on
VGG-19: 2.0 and 0.78). They hold on VGG-16, pooling by pooling: over the eight images of `data/` at 256 px,
normalised, the mean of the maxima at its four poolings is 1.61, 2.07, 2.30 and 2.16 times that of the
averages, 2.02 in the geometric mean, and 0.70, 0.80, 0.83 and 0.81 times that of the L2 norms, 0.78. (Of
images that are not normalised 1.88 and 0.75.) But the first pooling sees too much, and smoother features
make stronger ones: conv2_1 to conv5_1 have means 1.44, 1.71, 1.82 and 1.66 times those of the network with
maxima if it averages, and 1.20, 1.30, 1.31 and 1.25 times with L2 norms (four images at 192 px).
"""

import logging
from functools import cache
from types import ModuleType
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

log = logging.getLogger(__name__)

AVERAGE, L2 = 2.0, 0.78
# Its sides, strides and padding; an odd row or column at the end is left out.
WINDOW = ([2, 2], [2, 2], [0, 0])


class Pooling(Protocol):
    """`forward` gives the pooled features and what `backward` needs beside them."""

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, C, H, W]`, none negative, to `[B, C, H/2, W/2]`."""
        ...

    @staticmethod
    def backward(gradient: Tensor, x: Tensor, kept: Tensor) -> Tensor:
        """The gradient with respect to `x`, given that of what `forward` made of it."""
        ...


class MaxPooling:
    """The largest of each window: the network's own."""

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        """Keeps the places of the maxima."""
        if x.is_cuda and x.is_contiguous(memory_format=torch.channels_last) and (triton := _triton()):
            kept: tuple[Tensor, Tensor] = triton.forward(x)
            return kept
        pooled, places = F.max_pool2d(x, 2, 2, return_indices=True)
        return pooled, places

    @staticmethod
    def backward(gradient: Tensor, x: Tensor, kept: Tensor) -> Tensor:
        """Each window's gradient goes to its maximum, the first of several."""
        found: Tensor
        if kept.dtype == torch.int8 and (triton := _triton()):
            found = triton.backward(gradient, x, kept)
        else:
            back = torch.ops.aten.max_pool2d_with_indices_backward
            found = back(gradient, x, *WINDOW, [1, 1], False, kept)
        return found


class AveragePooling:
    """`AVERAGE` times the mean of each window."""

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        """Keeps nothing."""
        return F.avg_pool2d(x, 2) * AVERAGE, x

    @staticmethod
    def backward(gradient: Tensor, x: Tensor, kept: Tensor) -> Tensor:
        """Each window's gradient goes to its four in equal parts."""
        return _spread(gradient * (AVERAGE / 4), x)


class L2Pooling:
    """`L2` times the Euclidean norm of each window."""

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        """Keeps what it gives."""
        pooled = F.avg_pool2d(x.square(), 2, divisor_override=1).sqrt_().mul_(L2)
        return pooled, pooled

    @staticmethod
    def backward(gradient: Tensor, x: Tensor, kept: Tensor) -> Tensor:
        """With y = L2·|x|, dy/dx = L2²·x/y; 0 where a window is 0, as ReLUs often leave it."""
        share = (gradient / kept).mul_(L2**2).masked_fill_(kept == 0, 0)
        return _spread(share, x).mul_(x)


POOLINGS: dict[str, type[Pooling]] = {"max": MaxPooling, "average": AveragePooling, "l2": L2Pooling}


@cache
def _triton() -> ModuleType | None:
    """`nst.core.triton_pooling`; None, with one warning, where Triton cannot make kernels."""
    try:
        from nst.core import triton_pooling  # Triton comes with PyTorch where there is CUDA

        triton_pooling.forward(torch.zeros(1, 1, 2, 2, device="cuda").to(memory_format=torch.channels_last))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # it wants a C compiler, and says so in many ways
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("poolings are PyTorch's, which are slower: Triton makes no kernels here (%s)", reason)
        return None
    return triton_pooling


def _spread(gradient: Tensor, like: Tensor) -> Tensor:
    """Each number of `gradient` at the four places of its window in `like`; 0 where there is no window."""
    found: Tensor = torch.ops.aten.avg_pool2d_backward(gradient, like, *WINDOW, False, True, 1)
    return found
