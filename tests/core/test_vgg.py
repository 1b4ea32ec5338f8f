"""The hand-written VGG with each pooling and padding against a plain one, and what no option changes."""

from collections.abc import Mapping
from itertools import product

import pytest
import torch
from support.cells import double, image
from torch import Tensor, nn

from nst.core.convolution import Convolution
from nst.core.network import Tap
from nst.core.pooling import POOLINGS
from nst.core.vgg import LAYERS, VGG
from nst.io.weights import load_weights

OPTIONS = list(product(POOLINGS, ("zeros", "replicate")))
FEW = [("max", "zeros"), ("average", "replicate"), ("l2", "zeros")]
TAPS = [Tap("conv1_1", "relu"), Tap("conv2_2", "conv"), Tap("conv3_1", "conv"), Tap("conv3_1", "relu")]
TAPS += [Tap("conv4_1", "relu")]


class Scaled(nn.Module):
    """Average and L2 pooling as DESIGN 3b has them. A norm's derivative at 0 is taken as 0."""

    def __init__(self, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, x: Tensor) -> Tensor:
        windows = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
        return windows.mean(4) * 2 if self.pooling == "average" else windows.norm(dim=4) * 0.78


def plain_features(images: Tensor, pooling: str, padding: str, normalize: bool) -> dict[Tap, Tensor]:
    tensors, found = double("vgg16"), {}
    x = images
    if normalize:
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        x = (x - x.new_tensor(mean).view(3, 1, 1)) / x.new_tensor(std).view(3, 1, 1)
    for layer in LAYERS["vgg16"][:8]:
        if layer in ("conv2_1", "conv3_1", "conv4_1"):
            x = nn.MaxPool2d(2)(x) if pooling == "max" else Scaled(pooling)(x)
        weight = tensors[f"{layer}.weight"]
        mode = padding if layer == "conv1_1" else "zeros"
        convolution = nn.Conv2d(*weight.shape[1::-1], 3, padding=1, padding_mode=mode, dtype=torch.float64)
        convolution.load_state_dict({"weight": weight, "bias": tensors[f"{layer}.bias"]})
        x = found[Tap(layer, "conv")] = convolution(x)
        x = found[Tap(layer, "relu")] = x.relu()
    return found


def there_and_back(
    network: VGG, images: Tensor, rows: Mapping[str, int] | None = None
) -> tuple[dict[Tap, Tensor], Tensor]:
    """Features at every tap, and the gradient of their sum, weighted by sines of their numbers."""
    run = network.forward(images, rows)
    features = dict(run.features)

    def add_gradient(tap: Tap, gradient: Tensor) -> None:
        assert gradient.is_contiguous(memory_format=torch.channels_last)  # others are slow
        gradient += (run.features[tap] * 50).sin()

    return features, network.backward(run, add_gradient)


@pytest.mark.parametrize(("pooling", "padding"), OPTIONS)
@pytest.mark.parametrize("normalize", [False, True])
def test_features_and_gradient_are_those_of_the_plain_network(pooling, padding, normalize):
    options = {"pooling": pooling, "padding": padding, "normalize": normalize}
    network = VGG("vgg16", double("vgg16"), TAPS, dtype=torch.float64, **options)
    images = torch.stack([image(0, 37), image(1, 37)])[
        ..., :21
    ].double()  # sides that are odd at each pooling
    if pooling != "max":  # whose windows' places are a matter of rounding where an image is even
        images[0, :, 6:, :] = 0  # all windows of some channels are 0 there
    features, gradient = there_and_back(network, images)
    x = images.clone().requires_grad_()
    expected = plain_features(x, **options)
    for tap in TAPS:
        torch.testing.assert_close(features[tap], expected[tap].detach(), rtol=1e-9, atol=1e-11)
    loss = sum((expected[tap] * (expected[tap].detach() * 50).sin()).sum() for tap in TAPS)
    loss.backward()
    torch.testing.assert_close(gradient, x.grad, rtol=1e-9, atol=1e-9)


# What pads decides the first convolution alone, and pooling goes pixel by pixel: large ones with each once.
@pytest.mark.parametrize(
    ("pooling", "padding", "shape"),
    [
        *((*option, (16, 24)) for option in OPTIONS),
        *((*option, shape) for option in FEW for shape in ((83, 82), (96, 64))),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_has_the_same_bits_in_any_batch(pooling, padding, dtype, shape):
    tensors = load_weights("vgg16", "imagenet").tensors
    network = VGG("vgg16", tensors, TAPS, dtype=dtype, pooling=pooling, padding=padding)
    images = torch.stack([image(seed, 96)[:, : shape[0], : shape[1]] for seed in range(3)])
    features, gradient = there_and_back(network, images)
    for row in range(3):
        mine, back = there_and_back(network, images[row : row + 1])
        assert torch.equal(back[0], gradient[row])
        assert all(torch.equal(mine[tap][0], features[tap][row]) for tap in TAPS)


@pytest.mark.parametrize(("pooling", "padding"), OPTIONS)
@pytest.mark.parametrize(("recompute", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_a_row_that_ends_early_is_cut_off_and_has_the_bits_of_a_network_that_ends_there(
    pooling, padding, recompute, dtype, monkeypatch
):
    """Ends behind a tap, in the middle of a block, and at its end."""
    tensors = load_weights("vgg16", "imagenet").tensors
    options = {"pooling": pooling, "padding": padding, "dtype": dtype}
    ends, images = (8, 5, 4, 1), torch.stack([image(seed, 48) for seed in range(4)])
    layers = LAYERS["vgg16"]
    rows = {layer: sum(end > number for end in ends) for number, layer in enumerate(layers)}
    network = VGG("vgg16", tensors, TAPS, recompute=recompute, **options)
    convolved = list[int]()
    plain = Convolution.forward

    def counted(self, x, **options):
        convolved.append(len(x))
        return plain(self, x, **options)

    monkeypatch.setattr(Convolution, "forward", counted)
    features, gradient = there_and_back(network, images, rows)
    assert convolved[:5] == [4, 3, 3, 3, 2]
    for row, end in enumerate(ends):
        taps = [tap for tap in TAPS if layers.index(tap.layer) < end]
        mine, back = there_and_back(VGG("vgg16", tensors, taps, **options), images[row : row + 1])
        assert torch.equal(back[0], gradient[row])
        for tap in taps:
            assert torch.equal(mine[tap][0], features[tap][row])


@pytest.mark.parametrize(("pooling", "padding"), OPTIONS)
def test_recomputing_keeps_less_and_changes_no_bit(pooling, padding):
    tensors = load_weights("vgg16", "imagenet").tensors
    images = torch.stack([image(0, 40), image(1, 40)])
    options = {"pooling": pooling, "padding": padding, "normalize": True}
    results = []
    for recompute in (False, True):
        network = VGG("vgg16", tensors, TAPS, recompute=recompute, **options)
        assert [kept is None for kept in network.forward(images).kept] == [recompute] * 4
        results.append(there_and_back(network, images))
    (features, gradient), (again, back) = results
    assert torch.equal(gradient, back)
    assert all(torch.equal(features[tap], again[tap]) for tap in TAPS)


@pytest.mark.parametrize("pooling", ["average", "l2"])
def test_the_constants_keep_the_magnitude_of_maxima(pooling):
    """Measured on photographs they hold to a few per cent; on smoothed noise less well."""
    taps = [Tap(f"conv{block}_1", "relu") for block in range(1, 6)]
    tensors = load_weights("vgg16", "imagenet").tensors
    smooth = nn.functional.avg_pool2d(image(0, 192)[None], 5, 1)
    found = [VGG("vgg16", tensors, taps, pooling=kind).forward(smooth).features for kind in ("max", pooling)]
    for tap in taps[1:]:
        assert 0.5 < found[1][tap].mean() / found[0][tap].mean() < 2
