"""Networks by name: VGG's, written here, and torchvision's."""

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from nst.core import vgg
from nst.core.network import Cost, Network, Tap
from nst.errors import NstError

MOST_SHOWN = 16  # layers in a message: all of VGG-19


# torchvision takes a second to import, and is mostly not needed.
def check_name(name: str) -> None:
    """Refuse a network that there is not; raises NstError."""
    if name in vgg.LAYERS:
        return
    from nst.core import torchvision_network

    if name not in torchvision_network.names():
        near = ", ".join(get_close_matches(name, torchvision_network.names(), 5, 0.5)) or "squeezenet1_1"
        raise NstError(
            f"model.name={name}: allowed are vgg16, vgg19, and what torchvision has for classification; "
            f"near it are {near}; give one of them"
        )


def layers_of(name: str) -> tuple[str, ...]:
    """The layers of a network, shallow to deep."""
    if name in vgg.LAYERS:
        return vgg.LAYERS[name]
    from nst.core import torchvision_network

    return torchvision_network.layers(name)


def shown(layers: Sequence[str]) -> str:
    """Layers in one line: of many, the first of those that are least deep in modules."""
    if len(layers) <= MOST_SHOWN:
        return ", ".join(layers)
    outer = set(sorted(layers, key=lambda layer: layer.count("."))[:MOST_SHOWN])
    return f"{', '.join(layer for layer in layers if layer in outer)}, … ({len(layers)} in all)"


def cost(name: str, layers: Collection[str], shape: tuple[int, int], *, recompute: bool = False) -> Cost:
    """What one row of (height, width) takes in a pass to the deepest of `layers` and back.

    Raises:
        NstError: a network of torchvision does not take such an image, or has no feature maps at a layer.
    """
    if name in vgg.LAYERS:
        return vgg.cost(name, frozenset(layers), shape, recompute=recompute)
    from nst.core import torchvision_network

    return torchvision_network.cost(name, frozenset(layers), shape)


def build(
    name: str,
    tensors: Mapping[str, Tensor],
    taps: Collection[Tap],
    *,
    normalize: bool,
    pooling: str = "max",
    padding: str = "zeros",
    recompute: bool = False,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Network[Any]:
    """A network up to its deepest tap; pooling, padding and recomputing are VGG's alone."""
    if name in vgg.LAYERS:
        return vgg.VGG(
            *(name, tensors, taps),
            normalize=normalize,
            pooling=pooling,
            padding=padding,
            recompute=recompute,
            device=device,
            dtype=dtype,
        )
    from nst.core.torchvision_network import TorchvisionNetwork

    return TorchvisionNetwork(name, tensors, taps, normalize=normalize, device=device, dtype=dtype)
