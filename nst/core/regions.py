"""Regions of pictures: from label images to the positions of a layer's features."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.errors import NstError


@dataclass(frozen=True)
class Regions:
    """A label image, as it is painted by.

    Attributes:
        mask: `[H, W]`, the region of each pixel, from 0 on: from dark to bright.
        colours: 0xRRGGBB of each region.
    """

    mask: Tensor
    colours: tuple[int, ...]

    @classmethod
    def of(cls, labels: Tensor) -> "Regions":
        """The regions of colours `[H, W]`, by their brightness (BT.601)."""

        def brightness(colour: int) -> tuple[int, int]:
            return 299 * (colour >> 16) + 587 * (colour >> 8 & 255) + 114 * (colour & 255), colour

        colours = sorted(map(int, labels.unique().tolist()), key=brightness)
        return cls(torch.stack([labels == colour for colour in colours]).int().argmax(0), tuple(colours))

    def shares(self, count: int) -> tuple[float, ...]:
        """What part of the picture each of so many regions has; their sum is 1."""
        pixels = self.mask.flatten().bincount(minlength=count)
        return tuple((pixels.double() / pixels.sum()).tolist())


def check_masks(
    content_mask: object, style_mask: object, styles: int, style_weights: object, prefix: str = ""
) -> None:
    """Refuse masks that do not go together with so many styles, before one is read.

    Args:
        prefix: of the keys in messages.
    """
    if style_mask is not None and content_mask is None:
        raise NstError(
            f"{prefix}style_mask={_short(style_mask)}: says nothing alone; give {prefix}content_mask, too"
        )
    if style_mask is not None and styles > 1:
        raise NstError(
            f"{prefix}style_mask={_short(style_mask)}: is of one style image, and there are {styles}; "
            "give one, or no style_mask, so that each region has a style of its own"
        )
    if content_mask is not None and style_weights is not None:
        raise NstError(
            f"{prefix}style_weights={style_weights}: each region of {prefix}content_mask has one style; "
            f"give no {prefix}style_weights"
        )


def check_pair(
    content: Regions, style: Regions | None, styles: int, named: tuple[str, str], size: int
) -> None:
    """Refuse regions that have no style to be painted after.

    Args:
        style: regions of the only style; None gives each region of the content one of `styles` images.
        named: what messages call the two masks, `images.content_mask=m.png`.
        size: at which the images were read.
    """
    if style is None:
        if len(content.colours) != styles:
            raise NstError(
                f"{named[0]}: has {len(content.colours)} regions ({_listed(content.colours)}), "
                f"and there are {styles} style images; give one for each, or a style_mask"
            )
        return
    mine, theirs = set(content.colours), set(style.colours)
    for mask, missing in ((named[1], mine - theirs), (named[0], theirs - mine)):
        if missing:
            raise NstError(
                f"{mask}: has nothing of {_listed(sorted(missing))} at size={size}, which "
                "the other mask has; give both the same colours"
            )


def _short(mask: object) -> str:
    return f"a tensor {tuple(mask.shape)}" if isinstance(mask, Tensor) else str(mask)


def _listed(colours: Iterable[int]) -> str:
    return ", ".join(f"#{colour:06x}" for colour in colours)


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
