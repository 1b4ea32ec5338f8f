"""Each loss of features against its plain float64 version, its gradient against autograd's of that."""

import pytest
import torch
from support import plain_losses
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from nst.core.losses import (
    FeatureLoss,
    Gram,
    Moments,
    Nearest,
    Place,
    Rows,
    SelfSimilarity,
    Sliced,
    Wasserstein,
)
from nst.core.losses.matrix_roots import by_eigenvalues, by_products

STYLES = [Gram(), Moments(), Wasserstein(), Sliced(), Sliced(directions=3, seed=5), Nearest()]
# Channels; the canvas's features, the style's: more positions than channels, and fewer.
SHAPES = [
    (4, (5, 7), (5, 7)),
    (4, (5, 7), (3, 9)),
    (4, (6, 2), (8, 9)),
    (12, (2, 4), (3, 3)),
    (9, (2, 4), (6, 5)),
]
WEIGHTS = torch.tensor([1.0, 0.0, 7000.0], dtype=torch.float64)
SHARES = torch.tensor([1.0, 0.25, 2.0], dtype=torch.float64)


def features(rows: int, channels: int, shape: tuple[int, int], seed: int) -> Tensor:
    """As after a ReLU: many are 0, and one channel is 0 everywhere; no position has all 0."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, channels, *shape, dtype=torch.float64, generator=generator).relu()
    x[:, 0] += 0.1
    x[:, -1] = 0
    return (x * torch.arange(1, channels + 1).view(-1, 1, 1)).to(memory_format=torch.channels_last)


def computed(
    loss: FeatureLoss, mine: Tensor, target: Tensor, positions: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What its term writes, and what it adds to a gradient that is there."""
    rows = list(range(len(mine)))
    term = loss.term(Place(Rows(rows, mine.device), 1, SHARES, WEIGHTS * SHARES, positions), target)
    values, gradient = mine.new_zeros(len(mine), 2), torch.full_like(mine, 0.5)
    term.evaluate(mine, values)
    term.add_gradient(mine, gradient)
    assert not values[:, 0].any()
    return values[:, 1], gradient - 0.5


def expected(loss: FeatureLoss, mine: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    plain = plain_losses.STYLE[loss.name]
    settings = {"directions": loss.directions, "seed": loss.seed} if isinstance(loss, Sliced) else {}
    x = mine.clone().requires_grad_()
    value = torch.stack([plain(row.flatten(1), style[0].flatten(1), **settings) for row in x])
    (gradient,) = torch.autograd.grad(value, x, WEIGHTS * SHARES)
    return value.detach() * SHARES, gradient.nan_to_num()  # of a deviation of 0


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("loss", STYLES, ids=repr)
def test_losses_and_gradients_are_those_of_the_plain_version(loss: FeatureLoss, shapes) -> None:
    channels, mine_shape, style_shape = shapes
    mine, style = features(3, channels, mine_shape, 0), features(1, channels, style_shape, 1)
    found = computed(loss, mine, loss.target(style))
    for got, wanted in zip(found, expected(loss, mine, style), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shapes", [(4, (5, 7)), (12, (2, 4))], ids=str)
@pytest.mark.parametrize("loss", STYLES, ids=repr)
def test_the_style_itself_loses_nothing_and_is_not_moved(loss: FeatureLoss, shapes) -> None:
    style = features(1, *shapes, 1)
    value, gradient = computed(loss, style.expand(3, -1, -1, -1), loss.target(style))
    assert value.abs().max() < 1e-6 * SHARES.max() * style.square().mean()
    assert gradient.abs().max() < 1e-6 * WEIGHTS.max()


@pytest.mark.parametrize("loss", [*STYLES, SelfSimilarity()], ids=repr)
def test_features_of_0_lose_what_they_lose_by_the_first_of_the_group(loss: FeatureLoss) -> None:
    style = features(1, 6, (4, 5), 1)
    target = loss.target(style)
    scale = loss.scale(target, style, loss.reference(style))
    flat = style[0].flatten(1)
    wanted = flat.square().mean() if isinstance(loss, SelfSimilarity) else plain_losses.gram(flat * 0, flat)
    if isinstance(loss, Wasserstein):
        found = plain_losses.wasserstein(flat * 0, flat)
    else:
        [found] = loss.value(style * 0, target)
    torch.testing.assert_close(found * scale[0], wanted)
    blank = style * 0
    assert loss.scale(loss.target(blank), blank, loss.reference(blank)).isfinite()


@pytest.mark.parametrize("loss", STYLES, ids=repr)
def test_a_region_is_as_a_picture_of_its_own(loss: FeatureLoss) -> None:
    mine, style = features(3, 4, (5, 7), 0), features(1, 4, (3, 9), 1)
    positions = torch.tensor([0, 3, 4, 17, 33, 34])
    value, gradient = computed(loss, mine, loss.target(style), positions)
    alone = mine.flatten(2)[..., positions].unsqueeze(3)
    value_alone, gradient_alone = expected(loss, alone, style)
    torch.testing.assert_close(value, value_alone, rtol=1e-9, atol=1e-9)
    inside = gradient.flatten(2)[..., positions].unsqueeze(3)
    torch.testing.assert_close(inside, gradient_alone, rtol=1e-9, atol=1e-9)
    outside = [position for position in range(35) if position not in positions]
    assert not gradient.flatten(2)[..., outside].any()


def test_self_similarity_is_the_plain_one() -> None:
    mine, content = features(3, 4, (5, 7), 0) + 0.1, features(1, 4, (5, 7), 1) + 0.1
    value, gradient = computed(SelfSimilarity(), mine, SelfSimilarity().target(content))
    x = mine.clone().requires_grad_()
    plain = torch.stack([plain_losses.self_similarity(row.flatten(1), content[0].flatten(1)) for row in x])
    (wanted,) = torch.autograd.grad(plain, x, WEIGHTS * SHARES)
    torch.testing.assert_close(value, plain.detach() * SHARES, rtol=1e-9, atol=0)
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-9)


def test_self_similarity_takes_the_mean_of_neighbours_where_positions_are_many() -> None:
    mine, content = features(1, 4, (6, 7), 0), features(1, 4, (6, 7), 1)
    few = SelfSimilarity(positions=12)
    small = [torch.nn.functional.avg_pool2d(x, 2, ceil_mode=True) for x in (mine, content)]
    wanted = SelfSimilarity().value(small[0], SelfSimilarity().target(small[1]))
    torch.testing.assert_close(few.value(mine, few.target(content)), wanted)


@pytest.mark.parametrize("rank", [12, 5, 1, 0])
@pytest.mark.parametrize("roots", [by_eigenvalues, by_products])
def test_roots_of_matrices_of_any_rank(roots, rank: int) -> None:
    generator = torch.Generator().manual_seed(rank)
    factor = torch.randn(3, 12, rank, dtype=torch.float64, generator=generator)
    matrix = (factor @ factor.mT) * torch.tensor([1.0, 1e-8, 1e8], dtype=torch.float64).view(3, 1, 1)
    trace, inverse = roots(matrix)
    scale = matrix.diagonal(dim1=1, dim2=2).sum(1).sqrt() + 1e-30
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > 1e-10 * values[:, -1:]
    wanted = torch.where(kept, values.clamp(min=0).sqrt(), 0).sum(1)
    assert ((trace - wanted).abs() / scale).max() < 1e-6
    exact = (vectors * torch.where(kept, 1 / values.sqrt(), 0).unsqueeze(1)) @ vectors.mT
    assert (((inverse - exact) @ matrix).flatten(1).norm(dim=1) / scale).max() < 1e-4


def test_wide_styles_are_compared_by_what_they_have_on_average() -> None:
    """A style twice beside itself is the same style."""
    mine, style = features(3, 4, (5, 7), 0), features(1, 4, (3, 9), 1)
    for loss in STYLES:
        one, two = (computed(loss, mine, loss.target(x)) for x in (style, torch.cat([style, style], 3)))
        for got, wanted in zip(one, two, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", STYLES, ids=repr)
@pytest.mark.parametrize(("channels", "shape"), [(4, (5, 7)), (9, (2, 3))])
def test_on_a_gpu_no_step_waits_for_the_host(loss: FeatureLoss, channels: int, shape) -> None:
    """Tensors that are fake have no numbers: what asks for one fails, and what mixes devices."""
    with FakeTensorMode():
        mine, weight = torch.empty(2, channels, *shape, device="cuda"), torch.empty(2, device="cuda")
        term = loss.term(Place(Rows([0, 1], mine.device), 0, weight, weight), loss.target(mine[:1].clone()))
        for _ in range(2):
            term.evaluate(mine, torch.empty(2, 1, device="cuda"))
            term.add_gradient(mine, torch.empty_like(mine))


def test_on_a_gpu_self_similarity_does_not_either() -> None:
    loss = SelfSimilarity(positions=12)
    with FakeTensorMode():
        mine = torch.empty(2, 4, 5, 7, device="cuda")
        assert loss.value(mine, loss.target(mine)).shape == (2,)
