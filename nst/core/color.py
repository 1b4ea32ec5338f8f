"""What becomes of colours: the images' before anything is painted, the canvas's when it is shown."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from nst.core.options import Option
from nst.core.resizing import reduce

# Luminance of red, green and blue (ITU-R BT.601).
BT601 = (0.299, 0.587, 0.114)
# A deviation below one of 256 levels is rounding, not a colour's.
LEAST_VARIANCE = 1 / 255**2


@dataclass
class Color(Option):
    """A treatment of colours; by itself it leaves them as they are.

    Attributes:
        one_channel: whether the canvas has one channel: the network then sees the first three times, and the
            others stay 0, as `encode` has to leave them.
    """

    group: ClassVar[str] = "color"
    one_channel: ClassVar[bool] = False

    def recolored(self, style: Tensor, content: Tensor) -> Tensor:
        """The style image `[3, h, w]` that takes the place of `style`, in the 256 levels of a file."""
        return style

    def content(self, content: Tensor) -> Tensor:
        """The content image as the network is given it, `[3, H, W]`."""
        return content

    def style(self, style: Tensor, content: Tensor) -> Tensor:
        """The style image as the network is given it, `[3, h, w]`."""
        return style

    def encode(self, image: Tensor) -> Tensor:
        """The canvas that shows `image`, both `[3, H, W]`."""
        return image

    def decode(self, canvas: Tensor, content: Tensor) -> Tensor:
        """What `canvas` shows, both `[3, H, W]`; the content image may be larger."""
        return canvas


@dataclass
class StyleColors(Color):
    """The colours that the losses lead to, which are the style image's."""

    name: str = "style"


@dataclass
class Histogram(Color):
    """The style image is given the content image's mean and covariance of colours first (`match_colors`).

    Gatys et al., "Preserving Color in Neural Artistic Style Transfer", 2016; CVPR 2017, section 5.
    """

    name: str = "histogram"

    def recolored(self, style: Tensor, content: Tensor) -> Tensor:
        return levels(match_colors(style, content))

    def identity(self) -> Any:
        # All that it does is in the pixels of the style image, which count.
        return StyleColors.name


@dataclass
class Luminance(Color):
    """The canvas is painted in luminance, and shown with the content image's chroma.

    The network sees grey images; the style's luminance is first given the mean and the deviation of the
    content's.

    Gatys et al., "Preserving Color in Neural Artistic Style Transfer", 2016; CVPR 2017, section 5.
    """

    one_channel: ClassVar[bool] = True

    name: str = "luminance"

    def content(self, content: Tensor) -> Tensor:
        return luminance(content).expand_as(content).contiguous()

    def style(self, style: Tensor, content: Tensor) -> Tensor:
        return match_luminance(luminance(style), luminance(content)).expand_as(style).contiguous()

    def encode(self, image: Tensor) -> Tensor:
        canvas = torch.zeros_like(image)
        canvas[:1] = luminance(image)
        return canvas

    def decode(self, canvas: Tensor, content: Tensor) -> Tensor:
        # Chroma is linear in R - Y, G - Y and B - Y, so these stay.
        content = content.to(canvas)
        if content.shape != canvas.shape:
            content = reduce(content, canvas.shape[1:])
        return content + (canvas[:1] - luminance(content))


def levels(image: Tensor) -> Tensor:
    """`image` in the 256 levels from 0 to 1 that a file holds."""
    return image.clamp(0, 1).mul(255).round() / 255


def luminance(image: Tensor) -> Tensor:
    """Y of an RGB image, `[3, H, W]` to `[1, H, W]` (ITU-R BT.601)."""
    red, green, blue = BT601
    return red * image[:1] + green * image[1:2] + blue * image[2:]


def match_colors(style: Tensor, content: Tensor) -> Tensor:
    """`style` `[3, h, w]` with the mean and the covariance of `content`'s colours, `[3, H, W]`.

    x' = Σc^½·Σs^-½·(x - μs) + μc, with symmetric roots (Gatys et al., CVPR 2017, eq. 7 to 9). A direction in
    which the style's colours do not vary, as all but one of a grey image, is left without variation.
    """
    mean, covariance = colors(style)
    wanted, spread = colors(content)
    variances, axes = torch.linalg.eigh(covariance)
    inverse = (axes * torch.where(variances > LEAST_VARIANCE, variances, torch.inf).rsqrt()) @ axes.mT
    moved: Tensor = root(spread) @ inverse @ (style.double().flatten(1) - mean) + wanted
    return moved.view_as(style).to(style.dtype)


def match_luminance(style: Tensor, content: Tensor) -> Tensor:
    """`style` `[1, h, w]` with the mean and the deviation of `content` `[1, H, W]`; flat where it is flat.

    Gatys et al., CVPR 2017, eq. 10.
    """
    of, to = (torch.var_mean(image.double(), correction=0) for image in (style, content))
    ratio = (to[0] / of[0]).sqrt() if of[0] > LEAST_VARIANCE else 0.0
    matched: Tensor = (style.double() - of[1]) * ratio + to[1]
    return matched.to(style.dtype)


def colors(image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[3, 1]` and covariance `[3, 3]` of an image's colours `[3, H, W]`, in float64."""
    pixels = image.double().flatten(1)
    mean = pixels.mean(1, keepdim=True)
    return mean, (pixels - mean) @ (pixels - mean).mT / pixels.shape[1]


def root(covariance: Tensor) -> Tensor:
    """The symmetric root of a covariance `[3, 3]`."""
    variances, axes = torch.linalg.eigh(covariance)
    found: Tensor = (axes * variances.clamp(min=0).sqrt()) @ axes.mT
    return found


def as_seen(canvas: Tensor, one_channel: Tensor | None) -> Tensor:
    """What the network sees of canvases `[B, 3, H, W]`: of `one_channel` `[B, 1, 1, 1]` the first."""
    return canvas if one_channel is None else canvas[:, :1].where(one_channel, canvas).contiguous()


def of_canvas(gradient: Tensor, one_channel: Tensor | None) -> Tensor:
    """The derivative with respect to the canvas, given that with respect to what is seen: `[B, 3, H, W]`."""
    if one_channel is None:
        return gradient
    first = torch.zeros_like(gradient)
    first[:, 0] = gradient[:, 0] + gradient[:, 1] + gradient[:, 2]
    return first.where(one_channel, gradient).contiguous()
