"""Each loss against its formula, and each derivative written by hand against autograd, in float64."""

import pytest
import torch
from torch import Tensor

from nst.core.losses.gram_matrix import GramTarget, gram_matrix, style_gradient_factor, style_loss
from nst.core.losses.mse import add_content_gradient, content_loss
from nst.core.losses.total_variation import total_variation, total_variation_gradient

ROWS, CHANNELS, HEIGHT, WIDTH = 3, 4, 5, 7
WEIGHTS = torch.tensor([1.0, 0.0, 7000.0], dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def features(seed: int) -> Tensor:
    return random(ROWS, CHANNELS, HEIGHT, WIDTH, seed=seed)


def autograd(loss: Tensor, of: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad((WEIGHTS * loss).sum(), of)
    return gradient


def test_content_is_the_mean_squared_difference() -> None:
    mine, target = features(0), features(1)
    torch.testing.assert_close(content_loss(mine, target), ((mine - target) ** 2).mean((1, 2, 3)))
    assert content_loss(mine, mine).tolist() == [0] * ROWS


def test_the_gradient_of_content_is_added_to_what_is_there() -> None:
    mine, target, before = features(0).requires_grad_(), features(1), features(2)
    expected = before + autograd(content_loss(mine, target), mine)
    gradient = before.clone()
    add_content_gradient(gradient, mine.detach(), target, WEIGHTS)
    torch.testing.assert_close(gradient, expected, rtol=1e-13, atol=0)


def test_a_gram_matrix_is_the_mean_of_products_over_positions() -> None:
    mine = features(0)
    expected = torch.einsum("bchw,bdhw->bcd", mine, mine) / (HEIGHT * WIDTH)
    torch.testing.assert_close(gram_matrix(mine), expected)


def test_a_gram_matrix_is_that_of_the_same_picture_twice() -> None:
    mine = features(0)
    twice = torch.cat([mine, mine.flip(2)], 3)
    torch.testing.assert_close(gram_matrix(twice), gram_matrix(mine))


@pytest.mark.parametrize("apart", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("shape", [(64, 32, 48), (128, 17, 9), (512, 4, 4)])
def test_a_difference_in_bfloat16_is_as_exact_as_what_is_made_of_it(
    shape: tuple[int, int, int], apart: float
) -> None:
    mine = random(3, *shape).relu().bfloat16().contiguous(memory_format=torch.channels_last)
    exact = gram_matrix(mine.double())
    target = exact[:1] * (1 + apart * random(*exact[:1].shape, seed=1))
    found = GramTarget(target.float()).difference(mine)
    assert found.dtype == torch.float32
    # A unit in the last place of the difference, and of what the target is split into; and float32's.
    allowed = 2**-8 * (exact - target).abs() + 2**-16 * target.abs() + 2**-20 * exact.abs().amax((1, 2), True)
    assert ((found.double() - (exact - target)).abs() <= allowed).all()
    alone = [GramTarget(target.float()).difference(row[None])[0] for row in mine]
    assert torch.equal(found, torch.stack(alone))
    others = torch.cat([mine, mine.flip(0)])
    assert torch.equal(GramTarget(target.float()).difference(others)[:3], found)


def test_style_is_the_seeds() -> None:
    """Mean over C x C of (G - A)², divided by 4·C·(H·W)², with Gram matrices that are sums."""
    mine, target = features(0), features(1)
    sums = [torch.einsum("bchw,bdhw->bcd", x, x) for x in (mine, target)]
    expected = ((sums[0] - sums[1]) ** 2).mean((1, 2)) / (4 * CHANNELS * (HEIGHT * WIDTH) ** 2)
    torch.testing.assert_close(style_loss(gram_matrix(mine) - gram_matrix(target)), expected)


def test_style_has_the_same_bits_as_with_sums_where_positions_are_a_power_of_two() -> None:
    """So the README's canvases at 128 pixels are what they were before matrices were means."""
    mine, target = (random(ROWS, 8, 16, 16, seed=seed).float() for seed in (0, 1))
    positions, weight = 256, torch.tensor([3.0, 0.1, 7000.0])
    sums = [x.flatten(2) @ x.flatten(2).mT for x in (mine, target)]
    scaled = ((sums[0] - sums[1]) / positions).flatten(1)
    before = torch.linalg.vecdot(scaled, scaled) / (4 * 8**3)
    factor = (sums[0] - sums[1]) * (weight / (8**3 * positions**2)).view(-1, 1, 1)
    difference = gram_matrix(mine) - gram_matrix(target)
    assert torch.equal(style_loss(difference), before)
    assert torch.equal(style_gradient_factor(difference, positions, weight), factor)


def test_the_gradient_of_style_is_its_factor_times_the_features() -> None:
    mine, target = features(0).requires_grad_(), gram_matrix(features(1))
    difference = gram_matrix(mine) - target
    expected = autograd(style_loss(difference), mine)
    factor = style_gradient_factor(difference.detach(), HEIGHT * WIDTH, WEIGHTS)
    gradient = (factor @ mine.detach().flatten(2)).view_as(mine)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)


def test_total_variation_is_the_mean_of_both_directions() -> None:
    canvas = random(ROWS, 3, HEIGHT, WIDTH)
    down = (canvas[:, :, 1:] - canvas[:, :, :-1]).abs().mean((1, 2, 3))
    across = (canvas[..., 1:] - canvas[..., :-1]).abs().mean((1, 2, 3))
    torch.testing.assert_close(total_variation(canvas), down + across)


def test_the_gradient_of_total_variation() -> None:
    canvas = random(ROWS, 3, HEIGHT, WIDTH).requires_grad_()
    expected = autograd(total_variation(canvas), canvas)
    gradient = total_variation_gradient(canvas.detach(), WEIGHTS)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-18)


def test_a_flat_canvas_has_neither_variation_nor_gradient() -> None:
    canvas = torch.full((ROWS, 3, HEIGHT, WIDTH), 0.5, dtype=torch.float64)
    assert not total_variation(canvas).any()
    assert not total_variation_gradient(canvas, WEIGHTS).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_sums_are_taken_in_float32_at_least(dtype: torch.dtype) -> None:
    # 4096 ones: bfloat16 stops counting at 256, and float16's largest number is 65504.
    ones = torch.full((1, 1, 64, 64), 16.0, dtype=dtype)
    assert gram_matrix(ones).dtype == content_loss(ones, ones).dtype == torch.float32
    assert gram_matrix(ones).item() == 256
    assert content_loss(ones, torch.zeros_like(ones)).item() == 256


def test_large_gram_matrices_do_not_overflow() -> None:
    """Products summed over 10,000 positions are 1e21, the square of which is beyond float32."""
    features = torch.full((1, 1, 100, 100), 10**8.5)
    difference = gram_matrix(features)
    assert style_loss(difference).item() == pytest.approx(1e34 / 4, rel=1e-4)
