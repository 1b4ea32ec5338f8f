"""Square roots of positive semidefinite matrices of any rank, and their inverses."""

from functools import cache
from math import sqrt

import torch
from torch import Tensor

# Roots below this part of the largest count as 0: they are rounding errors, which in float64 are about 1e-8.
NOISE = 1e-7
# Roots down to this part of the largest are found by products; with less, their inverses are rounding errors.
LEAST = 1e-6


def root(matrix: Tensor) -> Tensor:
    """The symmetric root of `[b, n, n]`, by eigenvalues; on CUDA it waits for the host."""
    values, vectors = torch.linalg.eigh(matrix)
    found: Tensor = (vectors * values.clamp(min=0).sqrt().unsqueeze(1)) @ vectors.mT
    return found


def trace_and_inverse_root(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Trace of the root `[b]` and pseudo-inverse root `[b, n, n]` of `[b, n, n]`, in float64.

    On the CPU by eigenvalues, which is ten times as fast there; elsewhere by products alone, which wait for
    no host.
    """
    return by_eigenvalues(matrix) if matrix.device.type == "cpu" else by_products(matrix)


def by_eigenvalues(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """As `trace_and_inverse_root`."""
    values, vectors = torch.linalg.eigh(matrix)
    roots = values.clamp(min=0).sqrt()
    kept = roots > NOISE * roots[:, -1:]
    inverse = torch.where(kept, 1 / roots, 0)
    return roots.where(kept, 0).sum(1), (vectors * inverse.unsqueeze(1)) @ vectors.mT


def by_products(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """As `trace_and_inverse_root`, by the coupled Newton-Schulz iteration (Higham, 2008, eq. 6.35).

    Scaled for roots down to `LEAST` of the largest (Chen & Chow, 2014), which takes half the steps.
    """
    norm = torch.linalg.matrix_norm(matrix)[:, None, None]
    identity = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    y, z = torch.where(norm > 0, matrix / norm, 0), identity.expand_as(matrix)
    for scale in _scales():
        step = 1.5 * scale * identity - 0.5 * scale**3 * (z @ y)
        y, z = y @ step, step @ z
    roots = norm.sqrt()
    trace = (y * roots).diagonal(dim1=1, dim2=2).sum(1)
    # What is not in the matrix has grown in z by all the scales; z·y projects to what is.
    onto = z @ y
    return trace, torch.where(norm > 0, onto @ onto @ z / roots, 0)


@cache
def _scales() -> list[float]:
    """Of each step, such that what is in [LEAST, 1] ends at 1 to rounding."""
    scales, least = list[float](), LEAST
    while least < 1 - 1e-12:
        scale = sqrt(3 / (1 + least + least**2))
        scales.append(scale)
        least = 1.5 * scale * least - 0.5 * scale**3 * least**3
    return [*scales, 1.0]
