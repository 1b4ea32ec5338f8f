"""The feature extractor: VGG's convolutions with named layers, cut, frozen, with their own backward."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Convolutions a block; each block but the first begins with a 2 x 2 max-pooling (Simonyan & Zisserman,
# ICLR 2015, table 1, columns D and E).
BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)
LAYERS: dict[str, tuple[str, ...]] = {
    name: tuple(f"conv{b}_{i}" for b, n in enumerate(blocks, 1) for i in range(1, n + 1))
    for name, blocks in BLOCKS.items()
}
# ImageNet's mean and standard deviation, as torchvision's weights expect them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# Numbers in a single float32 image up to which PyTorch does not ask oneDNN (ConvParams::use_mkldnn).
SMALL = 20480


class Tap(NamedTuple):
    """Where features are read: a layer, before (`conv`) or after (`relu`) its ReLU."""

    layer: str
    activation: str


@dataclass
class _Stage:
    """One convolution with the pooling before it and the ReLU behind it."""

    layer: str
    pooled: bool
    weight: Tensor
    bias: Tensor


@dataclass
class Pass:
    """One forward pass: the features that were asked for, and what its backward needs."""

    features: dict[Tap, Tensor]
    inputs: list[Tensor]  # of each convolution
    before_pool: list[Tensor | None]
    pool_indices: list[Tensor | None]
    last: Tensor


class VGG:
    """A VGG network up to the deepest tap: `[B, 3, H, W]` in [0, 1] to features by name.

    The weights are constants, so the backward pass is written out: it goes to the input only, masks the
    gradient in place where a ReLU was shut, and lets each tap add its own gradient on the way, in
    place. On two CPU cores that costs a few per cent over the convolutions; `benchmarks/iteration.py`
    measures it.

    Args:
        name: `vgg16` or `vgg19`.
        tensors: `conv1_1.weight` `[out, in, 3, 3]`, `conv1_1.bias` `[out]`, ... for each layer.
        taps: where features will be read; layers below the deepest are not built.
        normalize: subtract ImageNet's mean and divide by its standard deviation first.
    """

    def __init__(
        self,
        name: str,
        tensors: Mapping[str, Tensor],
        taps: Collection[Tap],
        *,
        normalize: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        order = LAYERS[name]
        depth = max((order.index(tap.layer) + 1 for tap in taps), default=0)
        self.name, self.taps = name, frozenset(taps)
        self.device, self.dtype, self.memory_format = torch.device(device), dtype, memory_format
        self.stages = [
            _Stage(
                layer,
                pooled=layer.endswith("_1") and layer != "conv1_1",
                weight=tensors[f"{layer}.weight"].to(self.device, dtype, memory_format=memory_format),
                bias=tensors[f"{layer}.bias"].to(self.device, dtype),
            )
            for layer in order[:depth]
        ]
        # Canvas, losses and optimizer stay in float32 where the network is narrower.
        self.wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.mean = torch.tensor(MEAN, device=self.device, dtype=self.wide).view(1, 3, 1, 1)
        self.std = torch.tensor(STD, device=self.device, dtype=self.wide).view(1, 3, 1, 1)
        self.normalize = normalize

    @torch.no_grad()
    def forward(self, images: Tensor) -> Pass:
        """Run `images` `[B, 3, H, W]` through the network, keeping what is tapped."""
        if self.normalize:
            images = (images - self.mean) / self.std
        x = images.to(self.dtype, memory_format=self.memory_format)
        run = Pass({}, [], [], [], x)
        for depth, stage in enumerate(self.stages):
            wide, indices = None, None
            if stage.pooled:
                wide = x
                x, indices = F.max_pool2d(wide, 2, 2, return_indices=True)
            run.inputs.append(x)
            run.before_pool.append(wide)
            run.pool_indices.append(indices)
            x = _by_rows(partial(F.conv2d, weight=stage.weight, bias=stage.bias, padding=1), x)
            before, after = Tap(stage.layer, "conv"), Tap(stage.layer, "relu")
            if before in self.taps:
                run.features[before] = x
                if depth + 1 == len(self.stages) and after not in self.taps:
                    break
                x = F.relu(x)
            else:
                x = F.relu_(x)
            if after in self.taps:
                run.features[after] = x
        run.last = x
        return run

    @torch.no_grad()
    def backward(self, run: Pass, add_gradient: Callable[[Tap, Tensor], None]) -> Tensor:
        """The gradient with respect to the images of `run`.

        Args:
            run: what `forward` returned.
            add_gradient: called once for each tap, deepest first, with a gradient `[B, C, H, W]` to which it
                adds the derivative with respect to that tap's features, in place.

        Returns:
            `[B, 3, H, W]` in the network's dtype.
        """
        gradient = torch.zeros_like(run.last)
        for depth in reversed(range(len(self.stages))):
            stage = self.stages[depth]
            last = depth + 1 == len(self.stages)
            before, after = Tap(stage.layer, "conv"), Tap(stage.layer, "relu")
            if after in self.taps:
                add_gradient(after, gradient)
            if not last or after in self.taps:
                output = run.last if last else self._output(run, depth)
                torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)
            if before in self.taps:
                add_gradient(before, gradient)
            gradient = _by_rows(partial(_input_gradient, stage.weight), run.inputs[depth], gradient)
            wide, indices = run.before_pool[depth], run.pool_indices[depth]
            if wide is not None and indices is not None:
                gradient = torch.ops.aten.max_pool2d_with_indices_backward(
                    gradient, wide, [2, 2], [2, 2], [0, 0], [1, 1], False, indices
                )
        return gradient / self.std if self.normalize else gradient

    @staticmethod
    def _output(run: Pass, depth: int) -> Tensor:
        """What the ReLU of stage `depth` gave: the input of the next stage, before its pooling."""
        wide = run.before_pool[depth + 1]
        return run.inputs[depth + 1] if wide is None else wide


def _input_gradient(weight: Tensor, inputs: Tensor, gradient: Tensor) -> Tensor:
    """The gradient with respect to the `inputs` of a 3 x 3 convolution, given that of its output."""
    geometry = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)  # stride, padding, dilation; not transposed; groups
    backward = torch.ops.aten.convolution_backward
    found: Tensor = backward(gradient, inputs, weight, None, *geometry, [True, False, False])[0]
    return found


def _by_rows(convolution: Callable[..., Tensor], inputs: Tensor, *more: Tensor) -> Tensor:
    """A convolution of `inputs` `[B, C, H, W]`; on the CPU each row has the same bits whatever B is.

    oneDNN sees to that. PyTorch keeps to a kernel of its own where a single row is small, so such a row is
    given twice; and where numbers are float64, which oneDNN does not have, so these go row by row.
    """
    if inputs.device.type != "cpu":
        return convolution(inputs, *more)
    if inputs.dtype == torch.float64:
        rows = zip(*(x.split(1) for x in (inputs, *more)), strict=True)
        return torch.cat([convolution(*row) for row in rows])
    if len(inputs) == 1 and inputs.numel() <= SMALL:
        return convolution(*(torch.cat([x, x]) for x in (inputs, *more)))[:1]
    return convolution(inputs, *more)


def positions(layer: str, shape: tuple[int, int]) -> int:
    """How many positions the features of an image of (height, width) have at a layer."""
    block = int(layer[4]) - 1
    return (shape[0] >> block) * (shape[1] >> block)


def features(layer: str, shape: tuple[int, int]) -> int:
    """How many numbers the features of an image of (height, width) at a layer are."""
    return CHANNELS[int(layer[4]) - 1] * positions(layer, shape)


def activation_bytes(name: str, layers: Collection[str], shape: tuple[int, int], element_size: int) -> int:
    """Bytes that one row of a batch keeps between a pass to the deepest of `layers` and back, about."""
    depth = max(LAYERS[name].index(layer) + 1 for layer in layers)
    elements = sum(features(layer, shape) for layer in LAYERS[name][:depth])
    return 3 * elements * element_size  # outputs, pooling with its indices, and the gradient


def flops(name: str, layers: Collection[str], shape: tuple[int, int]) -> float:
    """Floating-point operations of the convolutions of one row, to the deepest of `layers` and back."""
    depth = max(LAYERS[name].index(layer) + 1 for layer in layers)
    total, inputs = 0, 3
    for layer in LAYERS[name][:depth]:
        outputs = CHANNELS[int(layer[4]) - 1]
        total += 2 * 9 * inputs * outputs * positions(layer, shape)
        inputs = outputs
    return 2.0 * total
