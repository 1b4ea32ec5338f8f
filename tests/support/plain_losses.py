"""The losses of DESIGN 3b once more, as plainly as they can be said: one image, float64, autograd.

Features are `[C, N]`. Written from the papers' formulas, not from `nst`, which is measured against it.
"""

import math

import torch
from torch import Tensor


def gram(f: Tensor, s: Tensor) -> Tensor:
    c = len(f)
    return ((f @ f.T / f.shape[1] - s @ s.T / s.shape[1]) ** 2).mean() / (4 * c)


def moments(f: Tensor, s: Tensor) -> Tensor:
    mean = ((f.mean(1) - s.mean(1)) ** 2).mean()
    return mean + ((f.std(1, correction=0) - s.std(1, correction=0)) ** 2).mean()


def wasserstein(f: Tensor, s: Tensor) -> Tensor:
    """The trace of the root of ΣΣ' is the sum of singular values of Xᵀ·Y, with X and Y centred."""
    x, y = ((a - a.mean(1, keepdim=True)) / math.sqrt(a.shape[1]) for a in (f, s))
    traces = (x**2).sum() + (y**2).sum() - 2 * torch.linalg.svdvals(x.T @ y).sum()
    return (((f.mean(1) - s.mean(1)) ** 2).sum() + traces) / len(f)


def sliced(f: Tensor, s: Tensor, directions: int | None = None, seed: int = 0) -> Tensor:
    """Both lists repeated, number by number, to the least common multiple of their lengths."""
    drawn = torch.randn(
        directions or len(f), len(f), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    length = math.lcm(f.shape[1], s.shape[1])
    total = torch.zeros((), dtype=torch.float64)
    for way in drawn:
        way = way / (way**2).sum().sqrt()
        mine, theirs = ((way @ a).sort().values for a in (f, s))
        mine = mine.repeat_interleave(length // len(mine))
        theirs = theirs.repeat_interleave(length // len(theirs))
        total = total + ((mine - theirs) ** 2).mean()
    return total / len(drawn)


def nearest(f: Tensor, s: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for column in f.T:
        lengths = ((column @ column + 1e-12) * ((s**2).sum(0) + 1e-12)).sqrt()
        total = total + 1 - (column @ s / lengths).max()
    return total / f.shape[1]


def self_similarity(f: Tensor, s: Tensor) -> Tensor:
    """Of feature maps of one shape, with no more positions than are compared."""

    def distances(a: Tensor) -> Tensor:
        unit = a / ((a**2).sum(0) + 1e-12).sqrt()
        found = 1 - unit.T @ unit
        return found / (found.sum(0) + 1e-6 * a.shape[1])

    return (distances(f) - distances(s)).abs().mean()


STYLE = {
    "gram": gram,
    "moments": moments,
    "wasserstein": wasserstein,
    "sliced": sliced,
    "nearest": nearest,
}


def style_scale(name: str, s: Tensor) -> Tensor:
    """Features of 0 lose as much as they do by Gram matrices."""
    if name == "gram":
        return torch.ones((), dtype=torch.float64)
    zeros = torch.zeros_like(s)
    return gram(zeros, s) / STYLE[name](zeros, s)
