"""The batched objective against the plain one, and against finite differences of itself."""

import pytest
import torch
from support.cells import SEED, image, network, plain

from nst.core.cell import Cell
from nst.core.network import Tap
from nst.core.objective import Objective
from nst.core.vgg import LAYERS, VGG
from nst.io.weights import load_weights


def mixed() -> list[Cell]:
    """Rows that share some things and not others: images, layers, activations, weights.

    The canvas is no square, and style images are of another shape.
    """
    weights = dict(zip(SEED, (3.9, 0.97, 0.061, 0.015, 0.0038), strict=True))
    return [
        Cell(image(0, 24, 32), (image(1),), {"conv2_1": 1.0}, weights, "conv", 5.0, 7000.0, 1.2),
        Cell(image(0, 24, 32), (image(1),), {}, {"conv4_1": 3.0, "conv1_1": 0.2}, "relu", 5.0, 70.0, 1.2),
        Cell(image(2, 24, 32), (image(3),), {"conv5_1": 1.0, "conv1_1": 1.0}, {}, "conv", 2.0, 0.0, 0.2),
        Cell(
            image(2, 24, 32),
            (image(1),),
            {"conv3_1": 1.0},
            {"conv3_1": 1.0, "conv1_1": 2.0},
            "relu",
            5,
            7e3,
            0,
        ),
        Cell(image(0, 24, 32), (image(3),), {"conv2_1": 1.0}, {"conv4_2": 1.0}, "conv", 0.5, 7e3, 3.0),
    ]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_losses_and_gradient_are_those_of_the_plain_implementation(normalize, memory_format):
    cells = mixed()
    net = network("vgg16", cells, normalize=normalize, memory_format=memory_format)
    objective = Objective(net, cells)
    canvas = torch.randn(len(cells), 3, 24, 32, dtype=torch.float64)
    losses, gradient = objective(canvas)
    for row, cell in enumerate(cells):
        x = canvas[row].clone().requires_grad_(True)
        expected = plain(cell, normalize=normalize).losses(x)
        expected["total"].backward()
        for column in cell.columns():
            value = losses[row, objective.columns.index(column)]
            torch.testing.assert_close(value, expected[column].detach(), rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(gradient[row], x.grad, rtol=1e-9, atol=1e-12)


def test_the_gradient_is_the_slope_of_the_total():
    cells = mixed()[:1]
    objective = Objective(network("vgg16", cells), cells)
    canvas = image(5, 24, 32).double().unsqueeze(0)
    way = torch.randn(canvas.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    _, gradient = objective(canvas)
    step = 1e-8
    slope = (objective(canvas + step * way)[0] - objective(canvas - step * way)[0])[0, 0] / (2 * step)
    torch.testing.assert_close(slope, (gradient * way).sum(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("dtype", "loss_error", "gradient_error"),
    [(torch.float32, 1e-5, 1e-4), (torch.bfloat16, 3e-2, 0.3)],
)
def test_narrower_networks_stay_near(dtype, loss_error, gradient_error):
    cells = mixed()
    canvas = torch.stack([cell.content for cell in cells]) * 0.9 + 0.05
    exact = Objective(network("vgg16", cells), cells)(canvas.double())
    losses, gradient = Objective(network("vgg16", cells, dtype), cells)(canvas)
    assert losses.dtype == gradient.dtype == torch.float32
    assert ((losses[:, 0] - exact[0][:, 0]).abs() / exact[0][:, 0]).max() < loss_error
    for mine, true in zip(gradient.double(), exact[1], strict=True):
        assert (mine - true).norm() / true.norm() < gradient_error


def test_the_network_is_cut_behind_its_deepest_tap():
    tensors = load_weights("vgg16", "imagenet").tensors
    net = VGG("vgg16", tensors, [Tap("conv3_1", "conv"), Tap("conv1_1", "relu")])
    assert [stage.layer for stage in net.stages] == list(LAYERS["vgg16"][:5])


def test_terms_that_no_cell_has_are_not_computed():
    cells = [mixed()[2], mixed()[2]]
    objective = Objective(network("vgg16", cells), cells)
    assert objective.columns == (
        "total",
        "content",
        "style",
        "tv",
        "content/conv1_1",
        "content/conv5_1",
    )


def test_conv_and_relu_really_differ():
    before, after = (
        Cell(image(0), (image(1),), {"conv2_1": 1.0}, dict.fromkeys(SEED, 1.0), activation, 5, 7e3, 1.2)
        for activation in ("conv", "relu")
    )
    objective = Objective(network("vgg16", [before, after]), [before, after])
    start = image(2).double()
    losses, gradient = objective(torch.stack([start, start]))
    assert abs(losses[0, 0] / losses[1, 0] - 1) > 0.05
    assert (gradient[0] - gradient[1]).norm() > 0.05 * gradient[0].norm()


def test_total_variation_alone_needs_no_network():
    cell = Cell(image(0), (image(1),), {}, {}, "conv", 0, 0, 1.5)
    objective = Objective(network("vgg16", [cell]), [cell])
    losses, _ = objective(image(3).double().unsqueeze(0))
    torch.testing.assert_close(losses[0, 0], 1.5 * losses[0, 3])


def test_what_the_readmes_code_collects_is_what_comes_after_the_relu() -> None:
    """It collects each convolution's output, which the ReLU behind it, in place, then overwrites."""
    wanted = [Tap(layer, "relu") for layer in SEED]
    weights = load_weights("vgg16", "imagenet").tensors
    ours = VGG("vgg16", weights, wanted, dtype=torch.float64).forward(image(0).double()[None]).features
    collected, x = {}, image(0).double()[None]
    for layer in LAYERS["vgg16"][: LAYERS["vgg16"].index("conv5_1") + 1]:
        if layer.endswith("_1") and layer != "conv1_1":
            x = torch.nn.functional.max_pool2d(x, 2)
        weight, bias = weights[f"{layer}.weight"].double(), weights[f"{layer}.bias"].double()
        x = collected[layer] = torch.nn.functional.conv2d(x, weight, bias, padding=1)
        x = torch.nn.ReLU(inplace=True)(x)
    for tap in wanted:
        torch.testing.assert_close(collected[tap.layer], ours[tap], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "dtype"), [(16, torch.float32), (24, torch.bfloat16), (48, torch.bfloat16)])
def test_a_cell_has_the_same_gradient_behind_deeper_ones(size, dtype) -> None:
    """A product rounds by the memory format of the gradient to which it is added."""
    cells = [
        Cell(image(0, size), (image(1, size),), {}, {layer: 1.0}, "conv", 1.0, 1000.0, 0.0)
        for layer in reversed(SEED)
    ]
    canvas = torch.stack([image(seed, size) for seed in range(2, 7)])
    losses, gradient = Objective(network("vgg16", cells, dtype), cells)(canvas)
    for row, cell in enumerate(cells):
        mine, back = Objective(network("vgg16", [cell], dtype), [cell])(canvas[row : row + 1])
        assert torch.equal(mine[0, 0], losses[row, 0])
        assert torch.equal(back[0], gradient[row])
