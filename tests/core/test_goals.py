"""Several styles and regions against what they mean, one image at a time, in float64."""

from dataclasses import replace

import pytest
import torch
from support import plain_losses
from support.cells import image, network, plain
from torch import Tensor

from nst.core.cell import Cell
from nst.core.losses import Gram, Moments, Nearest, SelfSimilarity, Sliced, StyleLoss, Wasserstein
from nst.core.objective import Objective
from nst.core.regions import positions

LAYERS = {"conv1_1": 2.0, "conv2_1": 0.5}
LOSSES = [Gram(), Moments(), Wasserstein(), Sliced(), Nearest()]
CONTENT, STARS, WAVES = image(0, 12, 16), image(1, 12, 12), image(2, 8, 18)
LEFT = torch.zeros(12, 16, dtype=torch.long).index_fill(1, torch.arange(10), 1)
ABOVE = torch.zeros(12, 12, dtype=torch.long).index_fill(0, torch.arange(4), 1)


def cell(loss: StyleLoss, *styles: Tensor, **more: object) -> Cell:
    return Cell(CONTENT, styles, {}, LAYERS, "relu", 0.0, 3.0, 0.0, style_loss=loss, **more)


def styled(some: Cell, canvas: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The style losses of a canvas, and the gradient of their weighted sum."""
    objective = Objective(network("vgg16", [some]), [some])
    losses, gradient = objective(canvas[None])
    return {layer: losses[0, objective.columns.index(f"style/{layer}")] for layer in LAYERS}, gradient[0]


def features(picture: Tensor) -> dict[str, Tensor]:
    found = plain(cell(Gram(), STARS)).features(picture)
    return {layer: found[layer][0] for layer in LAYERS}


def expected(goals: list, canvas: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """What goals give: by layer a loss of features `[C, N]`, those of its style, its share, its place."""
    x = canvas.double().clone().requires_grad_()
    mine, found = features(x), {}
    for layer in LAYERS:
        flat = mine[layer].flatten(1)
        terms = [share * loss(flat[:, place], style) for loss, style, share, place in goals[layer]]
        found[layer] = torch.stack(terms).sum()
    total = sum(3.0 * weight * found[layer] for layer, weight in LAYERS.items())
    return {layer: value.detach() for layer, value in found.items()}, torch.autograd.grad(total, x)[0]


def check(some: Cell, goals: dict[str, list]) -> None:
    canvas = image(5, 12, 16).double()
    values, gradient = styled(some, canvas)
    wanted, slope = expected(goals, canvas)
    for layer in LAYERS:
        torch.testing.assert_close(values[layer], wanted[layer], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradient, slope.nan_to_num(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_several_styles(loss: StyleLoss) -> None:
    """A quarter of one and three of the other, which has as many positions in another shape."""
    plain_loss = plain_losses.STYLE[loss.name]
    goals: dict[str, list] = {}
    for layer in LAYERS:
        stars, waves = (features(x)[layer].flatten(1) for x in (STARS, WAVES))
        every = slice(None)
        reference = [plain_losses.gram(s * 0, s) for s in (stars, waves)]
        blended = 0.25 * reference[0] + 0.75 * reference[1]
        if loss.name in ("gram", "wasserstein"):
            one = torch.cat([stars, waves, waves, waves], 1)  # a sample of both
            share = 1.0 if loss.name == "gram" else blended / plain_loss(one * 0, one)
            goals[layer] = [(plain_loss, one, share, every)]
        elif loss.name == "moments":
            mean, deviation = (
                0.25 * stat(stars) + 0.75 * stat(waves)
                for stat in (lambda s: s.mean(1), lambda s: s.std(1, correction=0))
            )

            def moments(f: Tensor, s: Tensor, mean: Tensor = mean, deviation: Tensor = deviation) -> Tensor:
                off = ((f.mean(1) - mean) ** 2).mean()
                return off + ((f.std(1, correction=0) - deviation) ** 2).mean()

            goals[layer] = [(moments, stars, blended / (mean**2 + deviation**2).mean(), every)]
        else:
            empty = 0.25 * plain_loss(stars * 0, stars) + 0.75 * plain_loss(waves * 0, waves)
            goals[layer] = [
                (plain_loss, style, weight * blended / empty, every)
                for style, weight in ((stars, 0.25), (waves, 0.75))
            ]
    check(cell(loss, STARS, WAVES, style_weights=(0.25, 0.75)), goals)


@pytest.mark.parametrize("own_styles", [False, True])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_regions(loss: StyleLoss, own_styles: bool) -> None:
    """Ten of sixteen columns are region 1; it has the upper third of a style, or a style of its own."""
    goals: dict[str, list] = {}
    for layer in LAYERS:
        stars, waves = (features(x)[layer] for x in (STARS, WAVES))
        half = stars.shape[1] // 3
        sources = [stars, waves] if own_styles else [stars[:, half:], stars[:, :half]]
        width = stars.shape[1] * 16 // 12
        right = torch.arange(width).repeat(stars.shape[1]) >= width * 10 // 16
        goals[layer] = [
            (plain_losses.STYLE[loss.name], s, share * plain_losses.style_scale(loss.name, s), place)
            for s, share, place in (
                (sources[0].flatten(1), 6 / 16, right),
                (sources[1].flatten(1), 10 / 16, ~right),
            )
        ]
    masks = {"content_mask": LEFT} if own_styles else {"content_mask": LEFT, "style_mask": ABOVE}
    check(cell(loss, *((STARS, WAVES) if own_styles else (STARS,)), **masks), goals)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_one_style_given_twice_is_that_style(loss: StyleLoss) -> None:
    canvas = image(5, 12, 16).double()
    once, twice = (styled(cell(loss, *styles), canvas) for styles in ((STARS,), (STARS, STARS)))
    torch.testing.assert_close(once, twice, rtol=1e-9, atol=1e-12)


def test_a_position_is_of_the_region_that_has_most_of_it() -> None:
    mask = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1], [2, 2, 2, 2], [2, 2, 2, 0]])
    assert [each.tolist() for each in positions(mask, 2, 2)] == [[0], [1], [2, 3]]


def test_a_region_too_small_for_a_layer_has_the_position_with_most_of_it() -> None:
    mask = torch.zeros(6, 6, dtype=torch.long)
    mask[4, 5] = 1
    assert [each.tolist() for each in positions(mask, 3, 3)] == [list(range(9)), [8]]


def test_cells_that_share_a_style_share_its_target() -> None:
    one = cell(Nearest(), STARS)
    objective = Objective(network("vgg16", [one, one]), [one, replace(one, style_weight=1.0)])
    for terms in objective._terms.values():
        assert len({id(term.target) for term in terms}) == 1


def test_every_loss_goes_down_on_its_own_gradient() -> None:
    canvas = image(5, 12, 16).double()[None]
    for loss in (*LOSSES, SelfSimilarity()):
        some = cell(loss if isinstance(loss, StyleLoss) else Gram(), STARS)
        if isinstance(loss, SelfSimilarity):
            some = replace(
                some, content_layers=LAYERS, style_layers={}, content_weight=1.0, content_loss=loss
            )
        objective = Objective(network("vgg16", [some]), [some])
        before, gradient = objective(canvas)
        after, _ = objective(canvas - 1e-4 * gradient / gradient.norm())
        slope = (after - before)[0, 0] / 1e-4
        torch.testing.assert_close(slope, -gradient.norm(), rtol=0.02, atol=0)
