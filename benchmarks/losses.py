"""Style losses with their gradients, as written by hand and by autograd: milliseconds a canvas."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.common import (
    MODEL,
    STYLE_LAYERS,
    Table,
    Work,
    arguments,
    canvases,
    device_of,
    fastest,
    publish,
    repeated,
    weights,
)
from nst.core.losses import Gram, Moments, Nearest, Place, Rows, Sliced, StyleLoss, Term, Wasserstein
from nst.core.losses.feature_loss import AutogradTerm
from nst.core.network import Tap
from nst.core.precision import arithmetic
from nst.core.vgg import VGG


@dataclass
class Eigenvalues(Wasserstein):
    """`wasserstein` as a formula: the eigenvalues of the same matrices, and what autograd makes of them."""

    name: str = ""

    def value(self, features: Tensor, target: Tensor) -> Tensor:
        rows = features.flatten(2).double()
        mean, second = target[:, 0], target[:, 1:]
        theirs = second - mean.unsqueeze(2) * mean.unsqueeze(1)
        off, x = rows.mean(2) - mean, (rows - rows.mean(2, keepdim=True)) / rows.shape[2] ** 0.5
        if x.shape[2] < x.shape[1]:
            matrix = x.mT @ theirs @ x
        else:
            values, vectors = torch.linalg.eigh(theirs)
            root = (vectors * values.clamp(min=0).sqrt().unsqueeze(1)) @ vectors.mT
            matrix = root @ x @ x.mT @ root
        values = torch.linalg.eigvalsh(matrix)
        roots = values.clamp(min=1e-14 * values.detach().amax().item()).sqrt().sum(1)
        traces = x.square().sum((1, 2)) + theirs.diagonal(dim1=1, dim2=2).sum(1) - 2 * roots
        found: Tensor = ((off.square().sum(1) + traces) / x.shape[1]).to(features.dtype)
        return found


LOSSES: dict[str, tuple[StyleLoss, StyleLoss]] = {
    "gram": (Gram(), Gram()),
    "moments": (Moments(), Moments()),
    "wasserstein": (Wasserstein(), Eigenvalues()),
    "sliced": (Sliced(), Sliced()),
    "nearest": (Nearest(), Nearest()),
}


def step(term: Term, features: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of one canvas's features, and its gradient."""
    value, gradient = features.new_zeros(1, 1), torch.zeros_like(features)
    term.evaluate(features, value)
    term.add_gradient(features, gradient)
    return value, gradient


def contestants(features: Tensor, style: Tensor, device: torch.device) -> dict[str, Work]:
    """Each loss, by hand and by autograd, with the features of one layer; they have to agree."""
    one = torch.ones(1, device=device)
    works: dict[str, Work] = {}
    for name, (hand, formula) in LOSSES.items():
        place, target = Place(Rows([0], device), 0, one, one), hand.target(style)
        both = [hand.term(place, target), AutogradTerm(formula, place, target)]
        (value, ours), (other, theirs) = (step(term, features) for term in both)
        if not (ours - theirs).norm() <= 1e-2 * theirs.norm() or abs(value - other) > 1e-3 * value:
            raise SystemExit(f"{name}: by hand and by autograd differ; not worth timing")
        for way, term in zip(("hand", "autograd"), both, strict=True):
            work: Work = partial(step, term, features)
            # Eigenvalues wait for the host, and cannot be captured.
            alone = way == "autograd" and isinstance(formula, Eigenvalues)
            works[f"{name}, {way}"] = work if alone else repeated(work, 1, device)
    return works


def main() -> None:
    """A table for each size."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128], help="of the canvases, pixels")
    options = parser.parse_args()
    device, tables = device_of(options.device), list[Table]()
    for size in options.sizes:
        table = Table(
            f"{size} x {size} pixels: loss and gradient, ms",
            ["loss", "by", *STYLE_LAYERS, "all", "autograd / by hand"],
        )
        with arithmetic("fp32"), torch.no_grad():
            # Before ReLUs: behind them channels are dead, and autograd has no derivative of their deviation.
            taps = sorted(Tap(layer, "conv") for layer in STYLE_LAYERS)
            network = VGG(MODEL, weights(), taps, device=device)
            content, style = (network.forward(x.to(device)).features for x in canvases(size, 2).split(1))
            seconds = [
                fastest(contestants(content[tap], style[tap], device), device, options.repeats)
                for tap in taps
            ]
        for name in LOSSES:
            by_hand, by_autograd = (
                [each[f"{name}, {way}"] * 1e3 for each in seconds] for way in ("hand", "autograd")
            )
            table.add(name, "hand", *by_hand, sum(by_hand), "")
            table.add(name, "autograd", *by_autograd, sum(by_autograd), sum(by_autograd) / sum(by_hand))
        tables.append(table)
    publish("Style losses", tables, device, options.out)


if __name__ == "__main__":
    main()
