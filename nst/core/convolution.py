"""A 3 x 3 convolution of frozen weights, forward and back to what it was given."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

ONCE = [1, 1]  # stride, and dilation
# Of PyTorch's oneDNN operators: what follows a convolution.
Following = tuple[str, list[float], str]
NOTHING: Following = ("none", [], "")
RELU: Following = ("relu", [], "")


class Convolution:
    """A 3 x 3 convolution whose weights never change, without steps, for `[B, C, H, W]`.

    On the CPU oneDNN multiplies weights that lie in blocks, which depend on the shape of what they are given.
    PyTorch has it lay them out at each call, and again on the way back: half the time of a layer of 512
    channels on 8 x 8 pixels, a sixth on 16 x 16. Here they are kept as they lay for the latest shape, by the
    operators that PyTorch's compiler uses. It is the same arithmetic, to the last bit.

    On the CPU each row has the same bits whatever B is. oneDNN sees to that; where it does not compute, as in
    float64, rows go one by one.

    Args:
        weight: `[out, in, 3, 3]`.
        bias: `[out]`.
        padding: zeros around what is given.
    """

    def __init__(self, weight: Tensor, bias: Tensor, padding: int = 1) -> None:
        self.weight, self.bias, self.padding = weight, bias, [padding, padding]
        self._kept: dict[bool, tuple[torch.Size, Tensor]] = {}  # in blocks, by whether for the way back

    def forward(self, inputs: Tensor, *, relu: bool = False) -> Tensor:
        """`[B, in, H, W]` to `[B, out, H, W]`, with a ReLU behind it if so asked: one pass less over it."""
        geometry = (self.padding, ONCE, ONCE, 1)
        if _by_onednn(inputs):
            weight, following = self._in_blocks(inputs, back=False), RELU if relu else NOTHING
            pointwise = torch.ops.mkldnn._convolution_pointwise
            found: Tensor = pointwise(inputs, weight, self.bias, *geometry, *following)
            return found
        if relu and _by_cudnn(inputs):
            return torch.cudnn_convolution_relu(inputs, self.weight, self.bias, ONCE, self.padding, ONCE, 1)
        found = _by_rows(lambda x: F.conv2d(x, self.weight, self.bias, padding=self.padding), inputs)
        return F.relu_(found) if relu else found

    def backward(self, gradient: Tensor, inputs: Tensor) -> Tensor:
        """The gradient with respect to `inputs`, which `forward` was given, from that of what it returned."""
        if not _by_onednn(gradient):
            return _by_rows(self._input_gradient, gradient, inputs)
        # It is a transposed convolution with the same weights.
        weight = self._in_blocks(gradient, back=True)
        transposed = torch.ops.mkldnn._convolution_transpose_pointwise
        geometry = (self.padding, [0, 0], ONCE, ONCE, 1)
        found: Tensor = transposed(gradient, weight, None, *geometry, *NOTHING)
        return found

    def _in_blocks(self, x: Tensor, *, back: bool) -> Tensor:
        """The weights as oneDNN wants them for an `x` of this shape."""
        if back not in self._kept or self._kept[back][0] != x.shape:
            onednn = torch.ops.mkldnn
            if back:
                geometry = (self.padding, [0, 0], ONCE, ONCE, 1)
                weight = onednn._reorder_convolution_transpose_weight(self.weight, *geometry, x.shape)
            else:
                weight = onednn._reorder_convolution_weight(self.weight, self.padding, ONCE, ONCE, 1, x.shape)
            self._kept[back] = x.shape, weight
        return self._kept[back][1]

    def _input_gradient(self, gradient: Tensor, inputs: Tensor) -> Tensor:
        # Stride, padding, dilation; not transposed; groups.
        geometry = (ONCE, self.padding, ONCE, False, [0, 0], 1)
        backward = torch.ops.aten.convolution_backward
        found: Tensor = backward(gradient, inputs, self.weight, None, *geometry, [True, False, False])[0]
        return found


def _by_cudnn(x: Tensor) -> bool:
    """Whether cuDNN has a convolution with a ReLU for `x`."""
    return x.is_cuda and x.dtype != torch.float64 and _cudnn_here()


@cache
def _cudnn_here() -> bool:
    # Not on AMD's cards, and fake tensors may be on a device that is not here.
    return torch.version.cuda is not None and torch.cuda.is_available()


def _by_onednn(x: Tensor) -> bool:
    return x.device.type == "cpu" and _onednn_has(x.dtype)


@cache
def _onednn_has(dtype: torch.dtype) -> bool:
    """Whether oneDNN is here, and computes in `dtype` on this processor."""
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def _by_rows(function: Callable[..., Tensor], *batches: Tensor) -> Tensor:
    """`function` of batches `[B, ...]`; on the CPU of one row at a time."""
    if batches[0].device.type != "cpu":
        return function(*batches)
    return torch.cat([function(*row) for row in zip(*(x.split(1) for x in batches), strict=True)])
