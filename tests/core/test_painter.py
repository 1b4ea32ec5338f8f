"""Coarse to fine, averages and bounds: what a plain loop in float64 paints, in whatever batch."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from support.cells import image, network, plain
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from nst.core.cell import Cell
from nst.core.iterates import Iterates
from nst.core.optimizers import OptimizerConfig
from nst.core.optimizers.adam import AdamConfig
from nst.core.optimizers.lbfgs import LBFGSConfig
from nst.core.painter import Painter
from nst.core.scales import Pyramid, Scale, Single, cells_at
from nst.errors import NstError

SCALES = [Scale(12, 4), Scale(17, 3), Scale(24, 3)]
STYLE = {"conv1_1": 3.9, "conv3_1": 0.06}
SHAPES = [((12, 9), (10, 14)), ((17, 13), (14, 20)), ((24, 18), (20, 28))]  # of canvas and style image


@given(smallest=st.integers(16, 512), size=st.integers(16, 8192), first=st.integers(1, 9))
def test_scales_grow_from_the_smallest_to_the_size_by_about_the_root_of_two(smallest, size, first):
    scales = Pyramid(smallest=smallest, iterations=7).schedule(size, first)
    sizes = [scale.size for scale in scales]
    assert sizes[-1] == size
    assert [scale.iterations for scale in scales] == [first, *[7] * (len(scales) - 1)]
    if len(sizes) > 1:
        assert sizes[0] == smallest
        ratios = [large / small for small, large in itertools.pairwise(sizes)]
        assert min(ratios) > 1.1
        assert max(ratios) < 1.75
        if len(sizes) > 4:
            assert all(ratio == pytest.approx(2**0.5, rel=0.15) for ratio in ratios)
    else:
        assert size < 2**0.25 * smallest
    assert Single().schedule(size, first) == [Scale(size, first)]


def test_scales_of_the_powers_of_two():
    found = [scale.size for scale in Pyramid().schedule(1024, 1)]
    assert found == [128, 181, 256, 362, 512, 724, 1024]


@pytest.mark.parametrize("settings", [{"smallest": 1}, {"iterations": 0}])
def test_a_pyramid_that_cannot_be_is_refused(settings):
    [(key, value)] = settings.items()
    with pytest.raises(NstError, match=f"^scales.{key}={value}: must be at least .*; give a larger number$"):
        Pyramid(**settings).check()


def tall_cell(content_layer: str = "conv2_1") -> Cell:
    """With images that are not square, and of different shapes."""
    return Cell(image(0, 24, 18), (image(1, 20, 28),), {content_layer: 1.0}, STYLE, "relu", 5.0, 7000.0, 1.2)


def painter(cells: list[Cell], options: list[OptimizerConfig], scales=SCALES, dtype=torch.float64) -> Painter:
    return Painter(
        *(network("vgg16", cells, dtype), cells, options, scales),
        lambda small: torch.stack([cell.content for cell in small]),
    )


def painted(mine: Painter, save_every: int = 2) -> tuple[dict[int, torch.Tensor], torch.Tensor]:
    """The canvases of the frames still to come by iteration, and the losses of the iterations."""
    shots = list(mine.paint(save_every))
    frames = {shot.iteration: shot.canvas for shot in shots if shot.canvas is not None}
    return frames, torch.cat([shot.losses for shot in shots])


def averaged(iterates: list[torch.Tensor], d: float) -> torch.Tensor:
    """The average of all, by its formula."""
    n = len(iterates)
    return sum(d ** (n - 1 - k) * x for k, x in enumerate(iterates)) * (1 - d) / (1 - d**n)


def plainly(cell: Cell, option: OptimizerConfig) -> tuple[list[float], list[torch.Tensor]]:
    """The total loss at each evaluation, and what is shown then; each scale as a run of its own."""
    totals, shown = list[float](), list[torch.Tensor]()
    moments = steps = canvas = None
    for (shape, own), scale in zip(SHAPES, SCALES, strict=True):
        small = [
            F.interpolate(whole[None], size, mode="bilinear", antialias=True)[0]
            for whole, size in ((cell.content, shape), (cell.styles[0], own))
        ]
        here = plain(replace(cell, content=small[0], styles=(small[1],)))
        if canvas is None:
            canvas = small[0].double()
        else:
            canvas = F.interpolate(canvas[None], shape, mode="bicubic")[0]
            canvas = canvas.clamp(0, 1) if option.bounds == "clamp" else canvas
        iterates = [canvas]
        if isinstance(option, LBFGSConfig):
            for total, point in here.paint(canvas, "lbfgs", scale.iterations + 1):
                totals.append(total)
                shown.append(point)
            totals.pop()  # that of the move after the last evaluation
            canvas = shown.pop()
            continue
        x = canvas.clone().requires_grad_(True)
        adam = torch.optim.Adam([x], lr=option.lr)
        if moments is not None:
            m, v = moments
            adam.state[x] = {
                "step": steps,
                "exp_avg": F.interpolate(m[None], shape, mode="bicubic")[0],
                "exp_avg_sq": F.interpolate(v[None], shape, mode="bilinear")[0].clamp(min=0),
            }
        for _ in range(scale.iterations):
            adam.zero_grad()
            total = here.losses(x)["total"]
            total.backward()
            totals.append(total.item())
            shown.append(averaged(iterates, option.average))
            adam.step()
            if option.bounds == "clamp":
                with torch.no_grad():
                    x.clamp_(0, 1)
            iterates.append(x.detach().clone())
        state = adam.state[x]
        moments, steps, canvas = (
            (state["exp_avg"], state["exp_avg_sq"]),
            state["step"],
            averaged(iterates, option.average),
        )
    return totals, shown


OPTIONS: dict[str, Callable[[], OptimizerConfig]] = {
    "adam": AdamConfig,
    "average": lambda: AdamConfig(average=0.9),
    "bounds": lambda: AdamConfig(bounds="clamp"),
    "both": lambda: AdamConfig(average=0.5, bounds="clamp", lr=0.1),
    "lbfgs": LBFGSConfig,
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_pyramid_follows_the_plain_implementation(name):
    cell, option = tall_cell(), OPTIONS[name]()
    totals, shown = plainly(cell, option)
    frames, losses = painted(painter([cell], [option]))
    assert losses[:, 0, 0].tolist() == pytest.approx(totals, rel=1e-6)
    assert [*frames] == [0, 2, 4, 6, 8, 9]
    for iteration, canvas in frames.items():
        assert canvas.shape == (1, *shown[iteration].shape)
        # Where the gradient is 0, Adam's first steps are the sign of rounding: not every pixel can agree.
        assert (canvas[0] - shown[iteration]).abs().median() < 1e-9
    if option.bounds == "clamp":
        assert ((frames[9] >= 0) & (frames[9] <= 1)).all()


def test_a_cell_of_a_pyramid_has_the_same_bits_alone_in_a_batch_and_gone_on_with():
    cells = [tall_cell(layer) for layer in ("conv1_1", "conv2_1", "conv2_2", "conv3_1")]
    options = [OPTIONS[name]() for name in ("adam", "average", "bounds", "both")]
    frames, losses = painted(painter(cells, options, dtype=torch.float32))
    for row in range(4):
        alone, own = painted(painter(cells[row : row + 1], options[row : row + 1], dtype=torch.float32))
        assert torch.equal(own[:, 0, 0], losses[:, row, 0])
        assert all(torch.equal(alone[point][0], frames[point][row]) for point in frames)
    for done in (1, 4, 5, 7):  # 4 and 7 are where the scale changes
        begun = painter(cells, options, dtype=torch.float32)
        for shot in begun.paint(1):
            if shot.iteration == done - 1:
                break
        kept = {name: tensor.clone() for name, tensor in begun.engine.tensors().items()}
        again = painter(cells, options, dtype=torch.float32)
        again.seek(done)
        again.restore(kept, done)
        rest, after = painted(again)
        assert torch.equal(after, losses[done:])
        assert all(torch.equal(canvas, frames[point]) for point, canvas in rest.items())


def test_one_scale_without_average_is_the_engine_alone():
    cell = tall_cell()
    single = painter([cell], [AdamConfig()], Single().schedule(24, 4))
    assert single.engine.iterates is None
    assert [*single.engine.tensors()] == ["canvas", "state.steps", "state.mean", "state.square"]
    frames, losses = painted(single)
    engine = painter([cell], [AdamConfig()], [Scale(24, 4)]).engine
    shots = list(engine.paint(4, 2))
    assert torch.equal(torch.cat([shot.losses for shot in shots]), losses)
    assert torch.equal(shots[-1].canvas, frames[3])


def test_a_row_without_average_or_bounds_is_its_canvas_to_the_bit():
    cells, options = [tall_cell()] * 2, [AdamConfig(average=0.99, bounds="clamp"), AdamConfig()]
    mixed, _ = painted(painter(cells, options, dtype=torch.float32))
    alone, _ = painted(painter(cells[:1], options[1:], dtype=torch.float32))
    assert all(torch.equal(mixed[point][1], alone[point][0]) for point in alone)


def test_a_step_asks_for_nothing_on_the_host():
    """As a graph demands: fake tensors have no values, and raise where one is needed."""
    with FakeTensorMode():
        options = [AdamConfig(average=0.9, bounds="clamp"), AdamConfig()]
        canvas = torch.zeros(2, 3, 8, 8, device="cuda")
        iterates = Iterates.of(options, canvas)
        assert iterates is not None
        adam = options[0].build(torch.ones(2, device="cuda"))
        state = adam.init(canvas)
        adam.step(canvas, torch.zeros(2, device="cuda"), torch.zeros_like(canvas), state)
        iterates.step(canvas)
        assert iterates.average.device.type == "cuda"
        larger = options[0].carry(state, (11, 11))
        assert larger.mean.shape == (2, 3, 11, 11)
        with pytest.raises(DataDependentOutputException):
            iterates.count[0].item()


def test_what_cells_share_they_share_at_each_scale():
    content, style = image(0, 24, 18), image(1, 20, 28)
    regions = torch.tensor([[0, 0], [1, 2]]).repeat_interleave(12, 0).repeat_interleave(9, 1)
    own = torch.tensor([[0, 1, 2]]).repeat(20, 1).repeat_interleave(9, 1)
    cell = replace(
        tall_cell(), content=content, styles=(style, content), content_mask=regions, style_mask=own
    )
    first, second, third = cells_at([cell, cell, tall_cell()], Fraction(1, 2))
    assert [part.shape for part in (first.content, *first.styles)] == [(3, 12, 9), (3, 10, 14), (3, 12, 9)]
    assert first.styles[1] is first.content is second.content
    assert first.styles[0] is second.styles[0]
    assert third.content_mask is None
    assert first.content_mask is regions  # a mask of any size does
    assert first.style_mask is own
    assert cells_at([cell], Fraction(1))[0] is cell
