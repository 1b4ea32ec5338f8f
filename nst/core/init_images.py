"""What a canvas is before the first iteration."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from nst.core.color import colors, root
from nst.core.options import Option
from nst.core.resizing import cover
from nst.errors import NstError


@dataclass
class InitImage(Option):
    """An initial image.

    Attributes:
        draws: whether it draws random numbers by the cell's seed, which then is part of the cell's identity.
    """

    group: ClassVar[str] = "init_image"
    draws: ClassVar[bool] = False

    def canvas(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        """The canvas on the CPU, `[3, H, W]` as the content image; the style image has its own shape."""
        raise NotImplementedError


@dataclass
class Content(InitImage):
    """The content image."""

    name: str = "content"

    def canvas(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        return content


@dataclass
class Style(InitImage):
    """The style image: as much of its middle as has the shape of the canvas."""

    name: str = "style"

    def canvas(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        return cover(style, (content.shape[1], content.shape[2]))


@dataclass
class Noise(InitImage):
    """White noise of N(0, 1)."""

    draws: ClassVar[bool] = True

    name: str = "noise"

    def canvas(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        return noise((content.shape[1], content.shape[2]), seed)


@dataclass
class Grey(InitImage):
    """Middle grey."""

    name: str = "grey"

    def canvas(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        return torch.full_like(content, 0.5)


@dataclass
class StyleStatistics(InitImage):
    """Noise with the mean and the covariance of the style image's colours, the first of several styles."""

    draws: ClassVar[bool] = True

    name: str = "style_statistics"

    def canvas(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        mean, covariance = colors(style)
        white = noise((content.shape[1], content.shape[2]), seed)
        colored = mean + root(covariance) @ white.double().flatten(1)
        return colored.view_as(white).to(white.dtype)


@dataclass
class File(InitImage):
    """An image of any size, resized to cover the canvas. Who paints reads it, as a `Picture`."""

    name: str = "file"
    path: str = ""

    def check(self) -> None:
        if not self.path:
            raise NstError(
                "init_image.path: has no value, and init_image=file needs one; give the path of an image"
            )

    def identity(self) -> str:
        return self.name  # its pixels count, wherever they are


@dataclass
class Picture(InitImage):
    """A given image `[3, h, w]`, which is no option of the config."""

    image: Tensor = field(default_factory=lambda: torch.zeros(3, 1, 1))

    def canvas(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        return cover(self.image, (content.shape[1], content.shape[2]))


def noise(shape: tuple[int, int], seed: int) -> Tensor:
    """Return a canvas `[3, height, width]` of N(0, 1) values that `shape` and `seed` alone decide.

    It is drawn in float32 on the CPU, whose generator gives the same values whatever device
    paints, and leaves the global random state alone.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(3, *shape, generator=generator, dtype=torch.float32, device="cpu")
