"""Gram matrices of feature maps, their distance, and its derivative."""

import torch
from torch import Tensor

from nst.core.losses.term import wide


def gram_matrix(features: Tensor) -> Tensor:
    """Inner products of feature maps, each a mean over the positions (Gatys et al., eq. 3, over H·W).

    Args:
        features: `[b, C, H, W]`.

    Returns:
        `[b, C, C]`, in at least float32.
    """
    rows = wide(features).flatten(2)
    # Each matrix by its own positions: those of images of another shape can be compared.
    return (rows @ rows.mT).div_(rows.shape[2])


def style_loss(difference: Tensor) -> Tensor:
    """Mean squared difference of Gram matrices over 4·C.

    Gatys et al. (eq. 4) divide the sum by 4·C²; this is the seed's, which has a mean for the sum and
    C for C².

    Args:
        difference: `[b, C, C]`, the canvas's Gram matrix less the target.

    Returns:
        `[b]`.
    """
    flat = difference.flatten(1)
    squares: Tensor = torch.linalg.vecdot(flat, flat)
    return squares / (4 * difference.shape[1] ** 3)


def style_gradient_factor(difference: Tensor, positions: int, weight: Tensor) -> Tensor:
    """The matrix `[b, C, C]` that takes features `[b, C, H·W]` to the derivative of weighted `style_loss`.

    With L = |G - A|² / (4·C³) and G = F·Fᵀ/N at N = `positions`, dL/dF = (G - A)·F / (C³·N).
    """
    scale = weight / (difference.shape[1] ** 3 * positions)
    return difference * scale.to(difference.dtype).view(-1, 1, 1)
