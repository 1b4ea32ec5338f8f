"""Content, style and total-variation losses of B rows at once, each with its derivative.

Everything here is pure arithmetic on tensors. Values are one number a row; derivatives are with respect
to the first argument and still to be multiplied by the row's weight.
"""

import torch
from torch import Tensor


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of feature maps.

    As Gatys et al. (CVPR 2016, eq. 1), but a mean over C, H, W where they take half the sum.

    Args:
        features, target: `[b, C, H, W]`.

    Returns:
        `[b]`, in at least float32.
    """
    difference = _wide(features) - _wide(target)
    # A norm over three dimensions reads any layout as it lies; a flattened copy would cost more.
    norm: Tensor = torch.linalg.vector_norm(difference, dim=(1, 2, 3))
    return norm.square() / difference[0].numel()


def add_content_gradient(gradient: Tensor, features: Tensor, target: Tensor, weight: Tensor) -> None:
    """Add the derivative of `weight` `[b]` times `content_loss` to `gradient` `[b, C, H, W]`, in place."""
    scale = (2 * weight / features[0].numel()).to(features.dtype)
    gradient.addcmul_(features - target, scale.view(-1, 1, 1, 1))


def gram_matrix(features: Tensor) -> Tensor:
    """Inner products of feature maps, each a mean over the positions (Gatys et al., eq. 3, over H·W).

    Args:
        features: `[b, C, H, W]`.

    Returns:
        `[b, C, C]`, in at least float32.
    """
    rows = _wide(features).flatten(2)
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


def total_variation(canvas: Tensor) -> Tensor:
    """Mean absolute vertical difference plus mean absolute horizontal difference, `[b, 3, H, W]` to `[b]`."""
    vertical, horizontal = _differences(canvas)
    return vertical.abs().flatten(1).mean(1) + horizontal.abs().flatten(1).mean(1)


def total_variation_gradient(canvas: Tensor, weight: Tensor) -> Tensor:
    """Derivative of `weight` `[b]` times `total_variation`, `[b, 3, H, W]`; 0 where a difference is 0."""
    vertical, horizontal = _differences(canvas)
    down = vertical.sign().mul_(weight.view(-1, 1, 1, 1) / vertical[0].numel())
    across = horizontal.sign().mul_(weight.view(-1, 1, 1, 1) / horizontal[0].numel())
    gradient = torch.zeros_like(canvas)
    gradient[:, :, 1:] += down
    gradient[:, :, :-1] -= down
    gradient[..., 1:] += across
    gradient[..., :-1] -= across
    return gradient


def _differences(canvas: Tensor) -> tuple[Tensor, Tensor]:
    return canvas[:, :, 1:] - canvas[:, :, :-1], canvas[..., 1:] - canvas[..., :-1]


def _wide(x: Tensor) -> Tensor:
    """Sums over thousands of positions are taken in float32 at least."""
    return x if x.dtype == torch.float64 else x.float()
