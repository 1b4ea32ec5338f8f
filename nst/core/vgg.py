"""The feature extractor: VGG's convolutions with named layers, cut, frozen, with their own backward."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from operator import add

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.core.convolution import Convolution
from nst.core.network import Cost, Reached, Tap, ignore, imagenet_statistics
from nst.core.pooling import POOLINGS, MaxPooling

# Convolutions a block; each block but the first begins with a 2 x 2 max-pooling (Simonyan & Zisserman,
# ICLR 2015, table 1, columns D and E).
BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)
LAYERS: dict[str, tuple[str, ...]] = {
    name: tuple(f"conv{b}_{i}" for b, n in enumerate(blocks, 1) for i in range(1, n + 1))
    for name, blocks in BLOCKS.items()
}


@dataclass
class _Stage:
    """One convolution with the ReLU behind it, the `number`-th of the network from 0 on."""

    number: int
    layer: str
    convolution: Convolution


@dataclass
class _Kept:
    """What a block's backward needs: its input, what each of its ReLUs gave, and what its pooling kept."""

    outputs: list[Tensor]
    pooling: Tensor | None = None


@dataclass
class Pass:
    """One forward pass: the features that were asked for, and for each block its input and what was kept.

    `rows` has for each layer how many rows go as far, and one more: none goes behind the last.
    """

    rows: list[int]
    features: dict[Tap, Tensor]
    inputs: list[Tensor]
    kept: list[_Kept | None]


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
        pooling: `max`, `average` or `l2` (`nst.core.pooling`).
        padding: what lies around the image before the first layer: `zeros`, or `replicate`, its own border.
        recompute: keep of a pass only each block's input, and compute a block again when its backward comes
            (Chen et al., arXiv 1604.06174): the same bits, in less memory and up to half as much time again.
    """

    def __init__(
        self,
        name: str,
        tensors: Mapping[str, Tensor],
        taps: Collection[Tap],
        *,
        normalize: bool = False,
        pooling: str = "max",
        padding: str = "zeros",
        recompute: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        self.layers = LAYERS[name]
        depth = max((self.layers.index(tap.layer) + 1 for tap in taps), default=0)
        self.name, self.taps, self.recompute = name, frozenset(taps), recompute
        self.device, self.dtype, self.memory_format = torch.device(device), dtype, memory_format
        self.pooling, self.replicate = POOLINGS[pooling], padding == "replicate"
        self.stages = [
            _Stage(
                number,
                layer,
                Convolution(
                    tensors[f"{layer}.weight"].to(self.device, dtype, memory_format=memory_format),
                    tensors[f"{layer}.bias"].to(self.device, dtype),
                    padding=0 if self.replicate and number == 0 else 1,  # the image's own border lies there
                ),
            )
            for number, layer in enumerate(self.layers[:depth])
        ]
        self.blocks = [list(block) for _, block in groupby(self.stages, lambda stage: stage.layer[4])]
        # Canvas, losses and optimizer stay in float32 where the network is narrower.
        self.wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.mean, self.std = imagenet_statistics(self.device, self.wide)
        self.normalize = normalize

    @torch.no_grad()
    def forward(
        self,
        images: Tensor,
        rows: Mapping[str, int] | None = None,
        reached: Reached = ignore,
    ) -> Pass:
        """Run `images` `[B, 3, H, W]` through the network, keeping what is tapped; see `Network`."""
        if self.normalize:
            images = (images - self.mean) / self.std
        x = images.to(self.dtype, memory_format=self.memory_format)
        if self.replicate and self.stages:
            x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        far = [len(images) if rows is None else rows[stage.layer] for stage in self.stages]
        run = Pass([*far, 0], {}, [], [])
        for number in range(len(self.blocks)):
            run.inputs.append(x)
            x, kept = self._block(number, x, run, reached)
            run.kept.append(None if self.recompute else kept)
        return run

    def _block(self, number: int, x: Tensor, run: Pass, reached: Reached = ignore) -> tuple[Tensor, _Kept]:
        """A block's input to the next one's, with what its backward needs; adds what is tapped to `run`."""
        kept, features = _Kept([x]), run.features
        for stage in self.blocks[number]:
            before, after = Tap(stage.layer, "conv"), Tap(stage.layer, "relu")
            shuts = stage is not self.stages[-1] or after in self.taps  # is there a ReLU?
            x = stage.convolution.forward(x[: run.rows[stage.number]], relu=shuts and before not in self.taps)
            if before in self.taps:
                features[before] = x
                reached(before, x)
                x = F.relu(x) if shuts else x
            if after in self.taps:
                features[after] = x
                reached(after, x)
            kept.outputs.append(x)
        if number + 1 < len(self.blocks):
            x, kept.pooling = self.pooling.forward(x[: run.rows[stage.number + 1]])
        return x, kept

    @torch.no_grad()
    def backward(self, run: Pass, add_gradient: Callable[[Tap, Tensor], None]) -> Tensor:
        """The gradient with respect to the images of `run`.

        Args:
            run: what `forward` returned. It is used up: what is no longer needed is let go of.
            add_gradient: called once for each tap, deepest first, with a gradient `[B, C, H, W]` to which it
                adds the derivative with respect to that tap's features (in `run.features`), in place.

        Returns:
            `[B, 3, H, W]` in the network's dtype.
        """
        gradient: Tensor | None = None
        inputs = run.inputs[-1]
        for number in reversed(range(len(self.blocks))):
            pooled, inputs, kept = inputs, run.inputs.pop(), run.kept.pop()
            if kept is None:
                run.features.clear()
                kept = self._block(number, inputs, run)[1]
            masked = None  # the stage whose ReLU is in the gradient already
            if gradient is None:
                gradient = torch.zeros_like(kept.outputs[-1])
            elif kept.pooling is not None:
                last = self.blocks[number][-1]
                if self.pooling is MaxPooling and Tap(last.layer, "relu") not in self.taps:
                    # Behind a maximum of 0 all of its window is shut: a quarter of the numbers to go through.
                    masked = last
                    _mask(gradient, pooled[: len(gradient)])
                gradient = self.pooling.backward(gradient, kept.outputs[-1][: len(gradient)], kept.pooling)
                kept.pooling = None
            for stage in reversed(self.blocks[number]):
                output = kept.outputs.pop()
                gradient = _with_rows(gradient, len(output))
                before, after = Tap(stage.layer, "conv"), Tap(stage.layer, "relu")
                if after in self.taps:
                    add_gradient(after, gradient)
                if stage is not masked and (stage is not self.stages[-1] or after in self.taps):
                    _mask(gradient, output)
                if before in self.taps:
                    add_gradient(before, gradient)
                del output
                gradient = stage.convolution.backward(gradient, kept.outputs[-1][: len(gradient)])
        assert gradient is not None
        gradient = _with_rows(gradient, len(inputs))
        if self.replicate:
            gradient = _fold_border(gradient)
        return gradient / self.std if self.normalize else gradient


def _mask(gradient: Tensor, output: Tensor) -> None:
    """Set a gradient to 0, in place, where the ReLU that gave `output` was shut."""
    torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)


def _with_rows(gradient: Tensor, rows: int) -> Tensor:
    """A gradient `[b, C, H, W]` with so many rows: those that went no further have none from there."""
    # `pad` keeps the memory format, by which products round, and ReLUs take eight times as long.
    missing = rows - len(gradient)
    return F.pad(gradient, (0, 0) * 3 + (0, missing)) if missing else gradient


def _fold_border(gradient: Tensor) -> Tensor:
    """The gradient with respect to an image, given that of the image with its border repeated once around it.

    Not PyTorch's own, which on CUDA adds up in an order that changes.
    """
    for side in (2, 3):
        inner = gradient.narrow(side, 1, gradient.shape[side] - 2)
        inner.narrow(side, 0, 1).add_(gradient.narrow(side, 0, 1))
        inner.narrow(side, inner.shape[side] - 1, 1).add_(gradient.narrow(side, gradient.shape[side] - 1, 1))
        gradient = inner
    return gradient


@cache
def cost(name: str, layers: frozenset[str], shape: tuple[int, int], *, recompute: bool = False) -> Cost:
    """What one row of (height, width) takes in a pass to the deepest of `layers` and back; see `Cost`."""
    depth = max((LAYERS[name].index(layer) + 1 for layer in layers), default=0)
    flop, inputs, weights = 0.0, 3, 0
    sizes: dict[str, int] = {}
    blocks, pooled = [0] * len(CHANNELS), [0] * len(CHANNELS)
    for layer in LAYERS[name][:depth]:
        block = int(layer[4]) - 1
        positions = (shape[0] >> block) * (shape[1] >> block)
        sizes[layer] = CHANNELS[block] * positions
        flop += 2 * 2 * 9 * inputs * sizes[layer]
        weights += 9 * inputs * CHANNELS[block]
        inputs = CHANNELS[block]
        blocks[block] += sizes[layer]
        pooled[block] = 3 * sizes[layer] // 4  # what its pooling gives, and the places, twice as wide
    # Gradients of a convolution's output and input are there at a time.
    gradients = 2 * max(sizes.values(), default=0)
    kept = sum(blocks) + sum(pooled)
    if recompute:
        kept = max(map(add, blocks, pooled))
    return Cost(flop, kept + gradients, {layer: sizes[layer] for layer in layers}, weights)
