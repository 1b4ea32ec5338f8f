"""On a card: every option is captured, paints what the CPU paints, and has the same bits each time."""

import gc
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support.cells import image, network, readme_cell
from torch._subclasses.fake_tensor import FakeTensorMode

from nst.core import networks, pooling
from nst.core.cell import Cell
from nst.core.color import Luminance
from nst.core.convolution import Convolution
from nst.core.engine import Engine
from nst.core.losses import Moments, Nearest, SelfSimilarity, Sliced, Wasserstein
from nst.core.memory import is_out_of_memory
from nst.core.objective import Objective
from nst.core.optimizers.adam import AdamConfig
from nst.core.optimizers.lbfgs import LBFGSConfig
from nst.core.precision import DTYPES, arithmetic
from nst.io.weights import load_weights

CONFIGS = {"adam": AdamConfig, "lbfgs": LBFGSConfig}
SIZE = 32
REGIONS = torch.arange(SIZE).view(-1, 1).expand(SIZE, SIZE) * 2 // SIZE  # an upper and a lower half
PLAIN = replace(readme_cell(activation="relu"), style_layers={"conv1_1": 1.0, "conv3_1": 1.0})
TWO = replace(PLAIN, styles=(image(1, SIZE), image(2, 24, 40)))
CELLS = {
    "gram": PLAIN,
    "conv": replace(PLAIN, activation="conv"),
    "moments": replace(PLAIN, style_loss=Moments()),
    "wasserstein": replace(PLAIN, style_loss=Wasserstein()),
    "sliced": replace(PLAIN, style_loss=Sliced()),
    "nearest": replace(PLAIN, style_loss=Nearest()),
    "self_similarity": replace(PLAIN, content_loss=SelfSimilarity(positions=100)),
    "two styles": TWO,
    "regions": replace(TWO, content_mask=REGIONS),
    "luminance": replace(PLAIN, color=Luminance()),
}
OPTIONS = [{"pooling": "average"}, {"pooling": "l2"}, {"padding": "replicate"}, {"normalize": True}]
CASES = [*((name, {}) for name in CELLS), *(("gram", options) for options in OPTIONS)]
here = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def engine(cells: list[Cell], kind: str, device: str, precision: str = "fp64", **options) -> Engine:
    net = network("vgg16", cells, DTYPES[precision], device=device, **options)
    rates = torch.full((len(cells),), CONFIGS[kind]().lr, dtype=net.wide, device=device)
    canvas = torch.stack([image(7 + row, SIZE) for row in range(len(cells))])
    return Engine(Objective(net, cells), CONFIGS[kind]().build(rates), canvas)


def losses(mine: Engine, until: int) -> torch.Tensor:
    return torch.cat([shot.losses for shot in mine.paint(until, until)])


@pytest.mark.cuda
@here
@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_option_is_captured_and_paints_what_the_cpu_paints(name, options):
    cells = [CELLS[name], replace(CELLS[name], content_layers={"conv1_1": 1.0})]
    mine = engine(cells, "adam", "cuda", **options)
    found, expected = losses(mine, 8), losses(engine(cells, "adam", "cpu", **options), 8)
    assert mine.capture, "the step was not captured"
    torch.testing.assert_close(found[:1], expected[:1], rtol=1e-6, atol=1e-12)
    # Where a gradient is about 0, Adam's first steps are the sign of rounding.
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=1e-12)


@pytest.mark.cuda
@here
@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp64"])
def test_the_same_batch_has_the_same_bits_again_gone_on_with_and_recomputed(kind, precision):
    cells = [PLAIN, CELLS["conv"], replace(PLAIN, content_layers={"conv2_2": 1.0}, style_layers={})]
    with arithmetic(precision):
        first = engine(cells, kind, "cuda", precision)
        losses(first, 10)
        kept = {name: tensor.clone() for name, tensor in first.tensors().items()}
        expected = losses(first, 30)
        again = engine(cells, kind, "cuda", precision)
        losses(again, 10)
        assert torch.equal(losses(again, 30), expected)
        for options in ({}, {"recompute": True}):
            gone_on = engine(cells, kind, "cuda", precision, **options)
            gone_on.restore(kept, 10)
            assert torch.equal(losses(gone_on, 30), expected)
            assert torch.equal(gone_on.canvas, first.canvas)


@pytest.mark.cuda
@here
def test_a_network_of_torchvision_is_captured():
    tensors = load_weights("squeezenet1_1", "random").tensors
    cell = replace(PLAIN, content_layers={"features.3": 1.0}, style_layers={"features.0": 1.0})
    found = []
    for device in ("cuda", "cpu"):
        options = {"normalize": True, "device": device, "dtype": torch.float64}
        net = networks.build("squeezenet1_1", tensors, cell.taps(), **options)
        rates = torch.full((1,), 0.06, dtype=net.wide, device=device)
        mine = Engine(Objective(net, [cell]), AdamConfig().build(rates), image(7, SIZE)[None])
        found.append(losses(mine, 8))
        assert mine.capture == (device == "cuda")
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-12)


@pytest.mark.cuda
@here
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_lies_in_memory_does_not_get_into_a_convolution(dtype):
    """cuDNN is given a third operand that counts for nothing: it may be NaN."""
    x = torch.randn(2, 64, 16, 16, device="cuda", dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(128, 64, 3, 3, device="cuda", dtype=dtype).to(memory_format=torch.channels_last)
    mine = Convolution(weight, torch.randn(128, device="cuda", dtype=dtype))
    expected = F.relu(F.conv2d(x.double(), weight.double(), mine.bias.double(), padding=1))
    for fill in (torch.nan, torch.inf):
        lying = torch.full((2, 128, 16, 16), fill, device="cuda", dtype=dtype)
        del lying
        with arithmetic("fp32"):
            found = mine.forward(x, relu=True).double()
        assert (found - expected).norm() < (1e-5 if dtype == torch.float32 else 1e-2) * expected.norm()
    x[0] = torch.nan
    assert mine.forward(x, relu=True)[1].isfinite().all()


def known_for_too_large() -> bool:
    large = image(0, 1024)
    cell = replace(PLAIN, content=large, styles=(large,))
    net = network("vgg16", [cell], torch.float32, device="cuda")
    rates = torch.ones(8, device="cuda")
    try:
        losses(Engine(Objective(net, [cell] * 8), AdamConfig().build(rates), torch.stack([large] * 8)), 8)
    except RuntimeError as error:  # whatever it is called: cuDNN and cuBLAS have words of their own
        return is_out_of_memory(error)
    return False


@pytest.mark.cuda
@here
def test_a_canvas_too_large_is_known_for_that_and_harms_nothing():
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(2**30 / torch.cuda.get_device_properties(0).total_memory)
    try:
        assert known_for_too_large()
        gc.collect()  # the error knew frames, and these the tensors
        torch.cuda.empty_cache()
        small = engine([PLAIN], "adam", "cuda", "fp32")
        assert losses(small, 8).isfinite().all()
        assert small.capture
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.cuda
@here
def test_triton_makes_the_poolings():
    assert pooling._triton() is not None


# What others prepare of their images needs values, or autograd a device that is here.
@pytest.mark.parametrize(
    "name", ["gram", "conv", "moments", "wasserstein", "sliced", "nearest", "two styles"]
)
def test_a_step_asks_for_nothing_on_the_host(name, monkeypatch):
    """As a graph demands: fake tensors have no values, and raise where one is needed."""
    monkeypatch.setattr(pooling, "_triton", lambda: None)
    weights = load_weights("vgg16", "imagenet").tensors
    with FakeTensorMode(allow_non_fake_inputs=True):
        cells = [replace(CELLS[name], content_layers={layer: 1.0}) for layer in ("conv2_1", "conv1_1")]
        taps = {tap for cell in cells for tap in cell.taps()}
        net = networks.build("vgg16", weights, taps, normalize=False, device="cuda", dtype=torch.bfloat16)
        objective, canvas = Objective(net, cells), torch.zeros(2, 3, SIZE, SIZE, device="cuda")
        for config in CONFIGS.values():
            optimizer = config().build(torch.ones(2, device="cuda"))
            state = optimizer.init(canvas)
            found, gradient = objective(canvas)
            optimizer.step(canvas, found[:, 0], gradient, state)
            assert canvas.device.type == gradient.device.type == "cuda"
