"""The images of cells, paths or tensors, at the size they are painted at."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.core.color import Color
from nst.core.regions import Regions
from nst.core.resizing import cover
from nst.errors import NstError
from nst.io.fit import Fit, fitted
from nst.io.images import image_shape, read, read_alpha, read_mask, shaped_mask

ImageLike = Tensor | str | Path


class Images:
    """Images as tensors of their shape, one tensor for each image, so that cells share its features."""

    def __init__(self, size: int, fit: Fit, style_scale: float = 1.0) -> None:
        self.size, self.fit, self.style_scale = size, fit, style_scale
        self._known: dict[tuple[str | int, int, Fit], Tensor] = {}
        self._recolored: dict[tuple[str, int, int], Tensor] = {}
        self._kept = list[Tensor]()  # so that no other tensor gets the id of one

    def content(self, image: ImageLike) -> Tensor:
        """`[3, H, W]`, of the shape of the canvas."""
        return self._once(image, self.size, self.fit)

    def style(self, image: ImageLike) -> Tensor:
        """`[3, h, w]`."""
        return self._once(image, *self._style_size())

    def recolored(self, color: Color, content: ImageLike, style: ImageLike) -> Tensor:
        """A style image `[3, h, w]`, in the colours that a content image is painted in."""
        content, style = self.content(content), self.style(style)
        key = repr(color), id(content), id(style)
        if key not in self._recolored:
            self._recolored[key] = color.recolored(style, content)
        return self._recolored[key]

    def opacity(self, content: ImageLike) -> Tensor | None:
        """`[1, H, W]` from 0 to 1, of the shape of the canvas; None where the image is opaque."""
        if isinstance(content, Tensor):
            return None
        return read_alpha(Path(content).expanduser(), self.size, "image", self.fit)

    def content_regions(self, image: ImageLike, mask: ImageLike) -> Regions:
        """The regions of the canvas."""
        return _regions(image, mask, self.size, "content_mask", self.fit)

    def style_regions(self, image: ImageLike, mask: ImageLike) -> Regions:
        """The regions of a style image."""
        size, fit = self._style_size()
        return _regions(image, mask, size, "style_mask", fit)

    def _style_size(self) -> tuple[int, Fit]:
        fit = Fit.square if self.fit is Fit.square else Fit.keep
        return max(1, round(self.style_scale * self.size)), fit

    def _once(self, image: ImageLike, size: int, fit: Fit) -> Tensor:
        key = id(image) if isinstance(image, Tensor) else str(image), size, fit
        if key not in self._known:
            self._known[key] = self._resized(image, size, fit)
        return self._known[key]

    def _resized(self, image: ImageLike, size: int, fit: Fit) -> Tensor:
        if not isinstance(image, Tensor):
            return read(Path(image).expanduser(), size, "image", fit)
        if image.dim() != 3 or image.shape[0] != 3:
            raise NstError(f"image: a tensor of shape {tuple(image.shape)}; give one of shape [3, H, W]")
        self._kept.append(image)
        image = image.detach().to("cpu", torch.float32)
        shape = fitted((image.shape[1], image.shape[2]), size, fit)
        if fit is Fit.crop:
            return cover(image, shape)
        if image.shape[1:] == shape:
            return image
        return F.interpolate(image[None], shape, mode="bilinear", antialias=True)[0]


def _regions(image: ImageLike, mask: ImageLike, size: int, key: str, fit: Fit) -> Regions:
    if isinstance(image, Tensor):
        shape = image.shape[1], image.shape[2]
    else:
        shape = image_shape(Path(image).expanduser(), "image")
    if not isinstance(mask, Tensor):
        return Regions.of(read_mask(Path(mask).expanduser(), size, key, fit, shape))
    if mask.dim() != 2 or mask.is_floating_point():
        raise NstError(f"{key}: a tensor {tuple(mask.shape)} of {mask.dtype}; give integers of shape [H, W]")
    return Regions.of(shaped_mask(mask.to("cpu", torch.int32), size, key, fit, shape))


def several(style: ImageLike | Sequence[ImageLike]) -> list[ImageLike]:
    """The styles of a cell; raises NstError where there is none."""
    styles = [style] if isinstance(style, Tensor | str | Path) else list(style)
    if not styles:
        raise NstError("style: an empty list; give one image at least")
    return styles
