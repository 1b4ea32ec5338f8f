"""What a feature extractor is to the objective: features by tap, and the way back from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

# ImageNet's mean and standard deviation, as torchvision's weights expect them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def imagenet_statistics(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of ImageNet's images, `[1, 3, 1, 1]` each."""
    mean, std = (torch.tensor(values, device=device, dtype=dtype).view(1, 3, 1, 1) for values in (MEAN, STD))
    return mean, std


class Tap(NamedTuple):
    """Where features are read: a layer, before (`conv`) or after (`relu`) its ReLU."""

    layer: str
    activation: str


@dataclass(frozen=True)
class Cost:
    """What one row takes in a pass to its deepest layer and back.

    Attributes:
        flop: floating-point operations of the forward and the backward pass.
        kept: numbers of the network's dtype that are there at a time, about.
        features: numbers in the features at each layer that is read.
        weights: numbers in the weights, which all rows share.
    """

    flop: float
    kept: int
    features: Mapping[str, int]
    weights: int


Reached = Callable[[Tap, Tensor], None]


def ignore(tap: Tap, features: Tensor) -> None:
    """Do nothing with features that were reached."""


class HasFeatures(Protocol):
    """A forward pass, for its backward to begin from."""

    features: dict[Tap, Tensor]  # [b, C, H, W] each, of the first b rows


Run = TypeVar("Run", bound=HasFeatures)


class Network(Protocol[Run]):
    """`[B, 3, H, W]` in [0, 1] to features by tap, and gradients of these back to the images.

    On the CPU a row has the same bits, forwards and backwards, whatever else is in the batch.

    Attributes:
        layers: names of all layers, in the order of the forward pass.
        taps: where features are read.
        device: of everything it is given and gives.
        wide: the dtype of canvas and losses, float32 or float64.
    """

    layers: tuple[str, ...]
    taps: frozenset[Tap]
    device: torch.device
    wide: torch.dtype

    def forward(
        self,
        images: Tensor,
        rows: Mapping[str, int] | None = None,
        reached: Reached = ignore,
    ) -> Run:
        """Run `images` `[B, 3, H, W]` through the network, keeping what is tapped.

        Args:
            rows: for each layer up to the deepest tap how many rows are needed there, from the first on,
                and then have features; None is all. A network may compute the others, too.
            reached: called with each tap's features as soon as they are there; the pass goes on behind it.
        """
        ...

    def backward(self, run: Run, add_gradient: Callable[[Tap, Tensor], None]) -> Tensor:
        """The gradient `[B, 3, H, W]` with respect to the images of `run`, which it uses up.

        `add_gradient` is called once for each tap with a gradient like its features, to which it adds the
        derivative with respect to these (in `run.features` at that time), in place.
        """
        ...
