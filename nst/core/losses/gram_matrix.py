"""Gram matrices of feature maps, their distance, and its derivative."""

import torch
from torch import Tensor

from nst.core.losses.term import wide

CHUNK = 1024  # positions at most


def gram_matrix(features: Tensor) -> Tensor:
    """Inner products of feature maps, each a mean over the positions (Gatys et al., eq. 3, over H·W).

    Args:
        features: `[b, C, H, W]`.

    Returns:
        `[b, C, C]`, in at least float32.
    """
    rows = features.flatten(2)
    # Each matrix by its own positions: those of images of another shape can be compared.
    return (_in_chunks(rows) if rows.is_cuda else _product(rows)).div_(rows.shape[2])


def _product(rows: Tensor) -> Tensor:
    """`[b, C, N]` times its transpose, in at least float32."""
    if rows.is_cuda and rows.dtype == torch.bfloat16:  # products of two are exact there
        product: Tensor = torch.bmm(rows, rows.mT, out_dtype=torch.float32)
        return product
    rows = wide(rows)
    return rows @ rows.mT


def _in_chunks(rows: Tensor) -> Tensor:
    """The same as a sum over chunks of the positions, which keeps a GPU busy: the result is small."""
    positions = rows.shape[2]
    chunk = next((size for size in range(CHUNK, CHUNK // 4, -1) if positions % size == 0), positions)
    chunks = rows.unflatten(2, (-1, chunk)).movedim(2, 1)  # [b, chunks, C, chunk]
    products = _product(chunks.flatten(0, 1))
    return products.unflatten(0, chunks.shape[:2]).sum(1) if chunk < positions else products


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
