"""Canvases and images in another size."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.core.rows import parts


@torch.no_grad()
def enlarge(canvas: Tensor, shape: Sequence[int], mode: Literal["bilinear", "bicubic"] = "bicubic") -> Tensor:
    """`canvas` `[B, C, H, W]` in a larger `shape` (height, width), each row the same bits in any batch."""
    rows = [canvas[some] for some in parts(len(canvas), canvas.device)]
    return torch.cat([F.interpolate(row, tuple(shape), mode=mode) for row in rows])


@torch.no_grad()
def reduce(image: Tensor, shape: Sequence[int]) -> Tensor:
    """`image` `[C, H, W]` in a smaller `shape` (height, width), with antialiasing."""
    return F.interpolate(image[None], tuple(shape), mode="bilinear", antialias=True)[0]


def cover(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """`image` `[3, h, w]` resized to cover `shape` (height, width), bilinearly, and cropped.

    One of that shape is what it was, bit for bit.
    """
    (height, width), (h, w) = shape, image.shape[1:]
    if (h, w) == shape:
        return image
    scale = max(height / h, width / w)
    whole = max(height, round(h * scale)), max(width, round(w * scale))
    resized = F.interpolate(image[None], whole, mode="bilinear", antialias=True)[0]
    top, left = (whole[0] - height) // 2, (whole[1] - width) // 2
    return resized[:, top : top + height, left : left + width].contiguous()
