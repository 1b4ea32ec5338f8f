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


class GramTarget:
    """Gram matrices that others are compared with.

    In bfloat16 on the CPU, where products have its precision, the target is subtracted before a product is
    rounded: split into a bfloat16 matrix, which the product is accumulated on, and a float32 rest. The
    difference is off by 2^-9 of itself, as the factor of the gradient is; a rounded Gram matrix would be
    off by 2^-9 of the whole, which is more than a canvas that is nearly done differs by.

    Args:
        matrices: `[b, C, C]`, or `[1, C, C]` where all rows share one.
    """

    def __init__(self, matrices: Tensor) -> None:
        self._matrices = matrices
        self._start = matrices.bfloat16()
        self._rest = self._start - matrices

    def difference(self, features: Tensor) -> Tensor:
        """Gram matrices `[b, C, C]` of features `[b, C, H, W]`, less the target, in at least float32."""
        if features.is_cuda or features.dtype != torch.bfloat16:
            return gram_matrix(features) - self._matrices
        rows = features.flatten(2)
        products = torch.empty(len(rows), *self._start.shape[1:], dtype=rows.dtype)
        # Row by row: one of several may be summed up in another order than one alone.
        for row, start, into in zip(rows, self._start.expand_as(products), products, strict=True):
            torch.addmm(start, row, row.mT, beta=-1, alpha=1 / rows.shape[2], out=into)
        return products + self._rest


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
