"""torchvision's networks against torchvision's modules with hooks, and our VGG against torchvision's."""

import pytest
import torch
import torchvision
from support.cells import double, image
from torch import Tensor, nn

from nst.core import torchvision_network
from nst.core.cell import Cell
from nst.core.network import Tap
from nst.core.objective import Objective
from nst.core.torchvision_network import TorchvisionNetwork, cost, layers, random_tensors
from nst.core.vgg import LAYERS, VGG
from nst.errors import NstError

NAME = "squeezenet1_1"
# A convolution before a ReLU that would overwrite it, a module of several nodes, a node in a module.
CHOSEN = ("features.0", "features.3", "features.4.expand3x3")


def network(name: str, chosen: tuple[str, ...], dtype: torch.dtype = torch.float64) -> TorchvisionNetwork:
    taps = [Tap(layer, "relu") for layer in chosen]
    return TorchvisionNetwork(name, random_tensors(name), taps, normalize=True, dtype=dtype)


def hooked(name: str, chosen: tuple[str, ...], images: Tensor) -> dict[str, Tensor]:
    """What the module itself gives at some of its own modules, by hooks, in float64."""
    model = getattr(torchvision.models, name)(weights=None)
    model.load_state_dict(random_tensors(name), strict=False)
    found: dict[str, Tensor] = {}
    for layer in chosen:
        # A clone, because the ReLU behind it works in place.
        model.get_submodule(layer).register_forward_hook(
            lambda module, given, output, layer=layer: found.update({layer: output.clone()})
        )
    mean, std = (images.new_tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    model.double().eval()((images - mean) / std)
    return found


@pytest.mark.parametrize(
    ("name", "chosen"),
    [(NAME, CHOSEN), ("resnet18", ("conv1", "layer1.0.bn2", "layer2.0"))],
)
def test_features_and_gradient_are_those_of_the_module(name: str, chosen: tuple[str, ...]) -> None:
    images = torch.stack([image(0, 40), image(1, 40)])[:, :, :36].double()
    net = network(name, chosen)
    run = net.forward(images)
    gradient = net.backward(run, lambda tap, gradient: gradient.add_(run.features[tap].sin()))
    x = images.clone().requires_grad_()
    expected = hooked(name, chosen, x)
    for layer in chosen:
        mine = run.features[Tap(layer, "relu")]
        torch.testing.assert_close(mine, expected[layer].detach(), rtol=1e-9, atol=1e-11)
    sum((expected[layer] * expected[layer].detach().sin()).sum() for layer in chosen).backward()
    torch.testing.assert_close(gradient, x.grad, rtol=1e-9, atol=1e-9)


def test_our_vgg_is_torchvisions() -> None:
    """With the same weights: torchvision's modules count on, ours have the papers' names."""
    module = torchvision.models.vgg16(weights=None).features
    theirs = iter(name for name, layer in module.named_children() if isinstance(layer, nn.Conv2d))
    numbers = dict(zip(LAYERS["vgg16"], theirs, strict=True))
    state = {
        f"{number}.{part}": double("vgg16")[f"{layer}.{part}"]
        for layer, number in numbers.items()
        for part in ("weight", "bias")
    }
    module.double().load_state_dict(state)
    taps = [
        Tap(layer, activation)
        for layer in ("conv2_2", "conv4_1", "conv5_3")
        for activation in ("conv", "relu")
    ]
    ours = VGG("vgg16", double("vgg16"), taps, dtype=torch.float64)
    images = torch.stack([image(0, 50), image(1, 50)])[..., :33].double()
    run = ours.forward(images)
    features = dict(run.features)
    gradient = ours.backward(run, lambda tap, gradient: gradient.add_(features[tap].sin()))
    x = images.clone().requires_grad_()
    found, y = dict[Tap, Tensor](), x
    by_number = {number: layer for layer, number in numbers.items()}
    for number, layer in module.named_children():
        if isinstance(layer, nn.ReLU):
            y = y.relu()  # not in place
            found[Tap(by_number[str(int(number) - 1)], "relu")] = y
        else:
            y = layer(y)
            if number in by_number:
                found[Tap(by_number[number], "conv")] = y
    for tap in taps:
        torch.testing.assert_close(features[tap], found[tap].detach(), rtol=1e-9, atol=1e-11)
    sum((found[tap] * found[tap].detach().sin()).sum() for tap in taps).backward()
    torch.testing.assert_close(gradient, x.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cell_has_the_same_bits_in_any_batch(dtype: torch.dtype) -> None:
    styles = dict.fromkeys(CHOSEN, 1.0)
    cells = [
        Cell(image(0), (image(1),), {"features.3": 1.0}, styles, "relu", 1.0, 1.0, 0.1),
        Cell(image(2), (image(1),), {}, {"features.0": 2.0}, "relu", 1.0, 1.0, 0.1),
        Cell(image(0), (image(2),), {"features.3": 1.0}, {}, "relu", 1.0, 1.0, 0.1),
    ]
    canvas = torch.stack([image(seed) for seed in (4, 5, 6)])
    goal = Objective(network(NAME, CHOSEN, dtype), cells)
    losses, gradient = goal(canvas)
    for row, cell in enumerate(cells):
        chosen = tuple(tap.layer for tap in cell.taps())
        alone = Objective(network(NAME, chosen, dtype), [cell])
        mine, back = alone(canvas[row : row + 1])
        assert torch.equal(back[0], gradient[row])
        for column, value in zip(alone.columns, mine[0], strict=True):
            assert value == losses[row, goal.columns.index(column)]


def test_layers_are_in_the_order_of_the_forward_pass() -> None:
    found = layers(NAME)
    assert found[0] == "features.0"
    assert found.index("features.2") < found.index("features.3.squeeze") < found.index("features.3")
    assert found.index("features.3") < found.index("features.4.squeeze")


def test_the_cost_is_counted() -> None:
    """By hand: a convolution of 3 x 3 with stride 2 from 3 channels to 64, without padding."""
    found = cost(NAME, frozenset(["features.0"]), (41, 31))
    assert found.features == {"features.0": 64 * 20 * 15}
    assert found.flop == 2 * 2 * 9 * 3 * 64 * 20 * 15
    assert found.kept >= 64 * 20 * 15


@pytest.mark.parametrize(
    ("name", "layer", "said"),
    [
        ("resnet18", "fc", "model.name=resnet18: fc gives [1, 1000], no feature maps"),
        ("vit_b_16", "conv_proj", "model.name=vit_b_16: does not take an image of 32 x 48"),
        (NAME, "features.12", "model.name=squeezenet1_1: does not take an image of 32 x 48"),
    ],
)
def test_what_a_network_does_not_take_is_one_line(name: str, layer: str, said: str) -> None:
    height = 10 if layer == "features.12" else 48
    with pytest.raises(NstError) as error:
        cost(name, frozenset([layer]), (height, 32))
    assert str(error.value).startswith(said.replace("48", str(height)))
    assert "\n" not in str(error.value)


def test_old_names_of_densenets_are_known() -> None:
    names = {ours: old for (ours, old), _ in torchvision_network.layout("densenet121")}
    key = "features.denseblock1.denselayer1.norm1.weight"
    assert names[key] == "features.denseblock1.denselayer1.norm.1.weight"
