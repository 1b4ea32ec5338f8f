"""The engine: what it paints is what the plain implementation paints, in whatever batch."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_objective import SEED, image, network, plain

from nst.engine import Engine, arithmetic, save_points
from nst.objective import Cell, Objective
from nst.optimizers.adam import Adam
from nst.optimizers.lbfgs import LBFGS

README = (3.90625, 0.9765625, 0.06103515625, 0.0152587890625, 0.003814697265625)


def readme_cell(content_layer: str = "conv2_1", *, activation: str = "conv", size: int = 32) -> Cell:
    styles = dict(zip(SEED, README, strict=True))
    images = image(0, size), image(1, size)
    return Cell(*images, {content_layer: 1.0}, styles, activation, 5.0, 7000.0, 1.2)


def engine(cells, starts, kind, lr=None, *, dtype=torch.float64, device="cpu", capture=True) -> Engine:
    net = network("vgg16", cells, dtype, device=device)
    rates = torch.tensor(lr or [0.06 if kind == "adam" else 1.0] * len(cells), dtype=net.wide)
    optimizer = (Adam if kind == "adam" else LBFGS)(rates.to(device))
    return Engine(Objective(net, cells), optimizer, torch.stack(starts), capture=capture)


def painted(engine: Engine, iterations: int, save_every: int = 5):
    """Canvas at each save point, and the losses of all iterations."""
    snapshots = list(engine.paint(iterations, save_every))
    assert [s.iteration for s in snapshots] == save_points(iterations, save_every)
    return [s.canvas for s in snapshots], torch.cat([s.losses for s in snapshots])


@pytest.mark.parametrize("activation", ["conv", "relu"])
@pytest.mark.parametrize("start", ["content", "style"])
def test_adam_follows_the_plain_implementation(start, activation):
    cell = readme_cell(activation=activation)
    canvas = getattr(cell, start)
    expected = plain(cell).paint(canvas, "adam", 20)
    canvases, losses = painted(engine([cell], [canvas], "adam"), 20)
    for (total, _), mine in zip(expected, losses[:, 0, 0].tolist(), strict=True):
        assert mine == pytest.approx(total, rel=1e-6)
    # Where the gradient is 0, Adam's first steps are the sign of rounding: not every pixel can agree.
    assert (canvases[-1][0] - expected[-1][1]).abs().median() < 1e-9


@pytest.mark.parametrize("start", ["content", "style", "noise"])
def test_lbfgs_follows_torch(start):
    cell = readme_cell("conv1_1")
    canvas = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    canvas = canvas if start == "noise" else getattr(cell, start)
    expected = plain(cell).paint(canvas, "lbfgs", 25)
    canvases, losses = painted(engine([cell], [canvas], "lbfgs"), 25)
    for (total, _), mine in zip(expected, losses[:, 0, 0].tolist(), strict=True):
        assert mine == pytest.approx(total, rel=1e-4)
    torch.testing.assert_close(canvases[-1][0], expected[-1][1], rtol=0, atol=1e-4)


@st.composite
def cells(draw) -> tuple[Cell, torch.Tensor, float]:
    """A cell of 16 px with its initial canvas and a factor for the learning rate."""
    layers = st.sets(st.sampled_from(["conv1_1", "conv1_2", "conv2_1", "conv3_1", "conv5_1"]))
    weights = st.floats(0.01, 10)
    content = dict.fromkeys(sorted(draw(layers)), 1.0)
    style = {layer: draw(weights) for layer in sorted(draw(layers))}
    images = st.integers(0, 3).map(lambda seed: IMAGES[seed])
    cell = Cell(
        draw(images),
        draw(images),
        content,
        style,
        draw(st.sampled_from(["conv", "relu"])),
        draw(weights),
        1000 * draw(weights),
        draw(weights),
    )
    start = draw(st.sampled_from(["content", "style", "noise"]))
    noise = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    # A start at a minimum has only rounding for its gradient, and Adam's division makes that
    # a step: never quite there.
    canvas = noise if start == "noise" else getattr(cell, start) + 0.01 * noise
    return cell, canvas, draw(st.floats(0.5, 1.5))


IMAGES = [image(seed, 16) for seed in range(4)]


@pytest.mark.parametrize(("kind", "iterations", "tolerance"), [("adam", 30, 1e-9), ("lbfgs", 25, 1e-6)])
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.lists(cells(), min_size=2, max_size=4))
def test_a_batched_cell_equals_the_cell_alone(kind, iterations, tolerance, drawn):
    each, starts, factors = zip(*drawn, strict=True)
    rates = [factor * (0.06 if kind == "adam" else 1.0) for factor in factors]
    _, together = painted(engine(each, list(starts), kind, rates), iterations)
    for row, cell in enumerate(each):
        alone_engine = engine([cell], [starts[row]], kind, [rates[row]])
        _, alone = painted(alone_engine, iterations)
        names = Objective(network("vgg16", each), each).columns
        own = [names.index(name) for name in cell.columns()]
        mine = together[:, row, own]
        theirs = alone[:, 0, [alone_engine.objective.columns.index(n) for n in cell.columns()]]
        bound = tolerance * theirs[:, :1].abs()
        assert ((mine[:, :1] - theirs[:, :1]).abs() <= bound + 1e-12).all()


def test_a_cell_that_turns_nan_leaves_its_neighbours_alone():
    cells = [readme_cell("conv1_1"), readme_cell("conv2_1"), readme_cell("conv3_1")]
    starts = [image(7, 32), image(8, 32), image(9, 32)]
    canvases, _ = painted(engine(cells, starts, "adam"), 12)
    starts[1] = torch.full_like(starts[1], torch.nan)
    disturbed, losses = painted(engine(cells, starts, "adam"), 12)
    assert losses[:, 1, 0].isnan().all()
    torch.testing.assert_close(disturbed[-1][[0, 2]], canvases[-1][[0, 2]], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("iterations", "save_every", "points"),
    [(1, 10, [0]), (5, 2, [0, 2, 4]), (6, 2, [0, 2, 4, 5]), (3, 100, [0, 2])],
)
def test_save_points(iterations, save_every, points):
    assert save_points(iterations, save_every) == points


def test_snapshots_show_the_canvas_as_it_was_evaluated():
    cell = readme_cell(size=16)
    one = engine([cell], [image(5, 16)], "adam")
    canvases, losses = painted(one, 7, save_every=3)
    assert losses.shape[0] == 7
    assert torch.equal(canvases[0][0], image(5, 16).double())
    for iteration, canvas in zip(save_points(7, 3), canvases, strict=True):
        again, _ = one.objective(canvas)
        assert again[0, 0].item() == pytest.approx(losses[iteration, 0, 0].item(), rel=1e-12)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp64"])
def test_every_precision_paints_on_the_cpu_and_leaves_no_switch_behind(precision):
    from nst.engine import DTYPES

    before = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    cell = readme_cell(size=16)
    with arithmetic(precision):
        _, losses = painted(engine([cell], [image(5, 16)], "adam", dtype=DTYPES[precision]), 30)
    assert losses[-1, 0, 0] < 0.5 * losses[0, 0, 0]
    after = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    assert before == after


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_on_cuda_the_captured_step_equals_the_eager_one(kind, dtype):
    cells = [readme_cell("conv1_1"), readme_cell("conv4_1", activation="relu")]
    starts = [image(7, 32), image(8, 32)]
    captured = engine(cells, starts, kind, dtype=dtype, device="cuda")
    _, losses = painted(captured, 25)
    assert captured.capture, "the step was not captured"
    assert captured.capture_seconds > 0
    _, eager = painted(engine(cells, starts, kind, dtype=dtype, device="cuda", capture=False), 25)
    few = 25 if dtype == torch.float64 else 5  # narrower, rounding grows
    torch.testing.assert_close(
        losses[:few, :, 0], eager[:few, :, 0], rtol=1e-6 if few == 25 else 2e-2, atol=0
    )
    if dtype == torch.float64:
        _, host = painted(engine(cells, starts, kind), 25)
        torch.testing.assert_close(losses[:, :, 0], host[:, :, 0], rtol=1e-4, atol=0)
