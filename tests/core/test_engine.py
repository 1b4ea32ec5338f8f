"""The engine: what it paints is what the plain implementation paints, in whatever batch."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cells import SEED, engine, image, painted, plain, readme_cell

from nst.core.cell import Cell
from nst.core.engine import save_points
from nst.core.losses import MSE, Gram, Moments, Nearest, SelfSimilarity, Sliced, Wasserstein
from nst.core.precision import DTYPES, arithmetic

SHALLOW = SEED[:3]  # deep networks are compared in test_objective.py


@pytest.mark.parametrize("activation", ["conv", "relu"])
@pytest.mark.parametrize("start", ["content", "style"])
def test_adam_follows_the_plain_implementation(start, activation):
    cell = readme_cell(activation=activation, size=16, layers=SHALLOW)
    canvas = cell.content if start == "content" else cell.styles[0]
    expected = plain(cell).paint(canvas, "adam", 8)
    canvases, losses = painted(engine([cell], [canvas], "adam"), 8)
    for (total, _), mine in zip(expected, losses[:, 0, 0].tolist(), strict=True):
        assert mine == pytest.approx(total, rel=1e-6)
    # Where the gradient is 0, Adam's first steps are the sign of rounding: not every pixel can agree.
    assert (canvases[-1][0] - expected[-1][1]).abs().median() < 1e-9


# torch.optim.LBFGS makes 20 iterations a step: the longest goes on into its second.
@pytest.mark.parametrize(("start", "iterations"), [("content", 8), ("style", 8), ("noise", 24)])
def test_lbfgs_follows_torch(start, iterations):
    cell = readme_cell("conv1_1", size=16, layers=SHALLOW)
    noise = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    canvas = {"content": cell.content, "style": cell.styles[0], "noise": noise}[start]
    expected = plain(cell).paint(canvas, "lbfgs", iterations)
    canvases, losses = painted(engine([cell], [canvas], "lbfgs"), iterations)
    for (total, _), mine in zip(expected, losses[:, 0, 0].tolist(), strict=True):
        assert mine == pytest.approx(total, rel=1e-4)
    torch.testing.assert_close(canvases[-1][0], expected[-1][1], rtol=0, atol=1e-4)


@st.composite
def batches(draw) -> list[tuple[Cell, torch.Tensor, float]]:
    """Two to four cells of one shape, each with its initial canvas and a factor for the learning rate.

    They have losses, styles and regions of their own.
    """
    size = draw(st.sampled_from([16, 17, 20, 24, 31, 32, 48]))
    images = [image(seed, size) for seed in range(3)]
    styles = [*images, image(3, 20, 33)]
    regions = torch.arange(size).view(-1, 1).expand(size, size) * 2 // size  # an upper and a lower half
    layers = st.sets(
        st.sampled_from(["conv1_1", "conv1_2", "conv2_1", "conv3_1", "conv4_2", "conv5_1"]), max_size=3
    )
    weights = st.floats(0.01, 10)
    losses = [Gram(), Gram(), Moments(), Wasserstein(), Sliced(), Sliced(seed=1), Nearest()]

    def cell() -> tuple[Cell, torch.Tensor, float]:
        content = dict.fromkeys(sorted(draw(layers)), 1.0)
        style = {layer: draw(weights) for layer in sorted(draw(layers))}
        chosen = tuple(draw(st.lists(st.sampled_from(styles), min_size=1, max_size=2)))
        activation = draw(st.sampled_from(["conv", "relu"]))
        mine = Cell(
            *(draw(st.sampled_from(images)), chosen, content, style, activation),
            *(draw(weights), 1000 * draw(weights), draw(weights)),
            draw(st.sampled_from([MSE(), SelfSimilarity(positions=100)])),
            draw(st.sampled_from(losses)),
            content_mask=draw(st.sampled_from([None, regions])) if len(chosen) == 2 else None,
        )
        noise = torch.randn(3, size, size, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
        start = draw(st.sampled_from([*images, noise]))
        return mine, start, draw(st.floats(0.5, 1.5))

    return [cell() for _ in range(draw(st.integers(2, 4)))]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=batches(), kept=st.integers(1, 3))
def test_a_cell_has_the_same_bits_alone_in_a_batch_and_gone_on_with_alone(kind, precision, drawn, kept):
    each, starts, factors = zip(*drawn, strict=True)
    rates = [factor * (0.06 if kind == "adam" else 1.0) for factor in factors]

    def paint(rows: slice, kept: dict[str, torch.Tensor] | None = None, done: int = 0, until: int = 4):
        mine = engine(each[rows], list(starts[rows]), kind, rates[rows], dtype=DTYPES[precision])
        if kept is not None:
            mine.restore(kept, done)
        shots = list(mine.paint(until, 1))
        columns = [[mine.objective.columns.index(name) for name in cell.columns()] for cell in each[rows]]
        return mine, [
            [(shot.canvas[row], shot.losses[0, row, own]) for shot in shots]
            for row, own in enumerate(columns)
        ]

    def same(mine, theirs) -> bool:  # NaN is the same as NaN: a wild draw may diverge
        return all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(mine, theirs, strict=True))

    _, together = paint(slice(None))
    begun, _ = paint(slice(None), until=kept)
    for row in range(len(each)):
        rows = slice(row, row + 1)
        _, [alone] = paint(rows)
        part = {name: tensor[rows].clone() for name, tensor in begun.tensors().items()}
        _, [gone_on] = paint(rows, part, kept)
        assert all(map(same, together[row], alone))
        assert all(map(same, together[row][kept:], gone_on))


def test_a_cell_that_turns_nan_leaves_its_neighbours_alone():
    cells = [readme_cell(layer, size=16) for layer in ("conv1_1", "conv2_1", "conv3_1")]
    starts = [image(seed, 16) for seed in (7, 8, 9)]
    canvases, _ = painted(engine(cells, starts, "adam"), 4)
    starts[1] = torch.full_like(starts[1], torch.nan)
    disturbed, losses = painted(engine(cells, starts, "adam"), 4)
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
