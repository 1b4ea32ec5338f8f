"""Regions of pictures, where a layer's features are concerned."""

import torch
import torch.nn.functional as F
from torch import Tensor


def positions(mask: Tensor, height: int, width: int) -> list[Tensor]:
    """The positions of a feature map that belong to each region, in rows: a tensor `[n]` a region.

    A position is of the region that has most of the pixels behind it. A region that has nowhere most of them
    is given the position where it has most: each has one at least, and may share it.

    Args:
        mask: `[H, W]`, the region of each pixel, from 0 on.
        height, width: of the feature map.
    """
    each = F.one_hot(mask.cpu()).permute(2, 0, 1).float()
    shares = F.adaptive_avg_pool2d(each, (height, width)).flatten(1)  # [R, height·width]
    most = shares.argmax(0)
    found = [torch.nonzero(most == region).flatten() for region in range(len(shares))]
    return [
        own if len(own) else share.argmax().unsqueeze(0) for own, share in zip(found, shares, strict=True)
    ]
