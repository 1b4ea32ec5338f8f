"""What a canvas is before the first iteration."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nst.core.options import Option


@dataclass
class InitImage(Option):
    """An initial image.

    Attributes:
        draws: whether it draws random numbers by the cell's seed, which then is part of the cell's identity.
    """

    group: ClassVar[str] = "init_image"
    draws: ClassVar[bool] = False

    def canvas(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        """The canvas, `[3, H, W]`, given the cell's images of that shape, on the CPU."""
        raise NotImplementedError


@dataclass
class Content(InitImage):
    """The content image."""

    name: str = "content"

    def canvas(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        return content


@dataclass
class Style(InitImage):
    """The style image."""

    name: str = "style"

    def canvas(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        return style


@dataclass
class Noise(InitImage):
    """White noise of N(0, 1)."""

    draws: ClassVar[bool] = True

    name: str = "noise"

    def canvas(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        return noise(content.shape[1], seed)


def noise(size: int, seed: int) -> Tensor:
    """Return a canvas `[3, size, size]` of N(0, 1) values that `seed` alone decides.

    It is drawn in float32 on the CPU, whose generator gives the same values whatever device
    paints, and leaves the global random state alone.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(3, size, size, generator=generator, dtype=torch.float32, device="cpu")
