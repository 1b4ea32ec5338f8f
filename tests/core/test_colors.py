"""Colours: luminance is a canvas of one channel; matched colours have the content's mean and covariance."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cells import engine, image, painted, plain, readme_cell
from torch._subclasses.fake_tensor import FakeTensorMode

from nst.core.cell import Cell
from nst.core.color import (
    Color,
    Histogram,
    Luminance,
    StyleColors,
    as_seen,
    colors,
    luminance,
    match_colors,
    match_luminance,
    of_canvas,
)
from nst.core.objective import Objective
from nst.core.precision import DTYPES
from nst.io.images import to_uint8

FEW = ("conv1_1", "conv2_1")  # a network that is not deep
WEIGHTS = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)


def in_luminance(size: int = 16, **changes) -> Cell:
    content, styles = image(0, size).double(), (image(1, size).double(),)
    return replace(
        readme_cell("conv1_1", layers=FEW), content=content, styles=styles, color=Luminance(), **changes
    )


class OneChannel:
    """The same cell, as plainly as can be said: a canvas `[1, H, W]`, copied to three before the network."""

    def __init__(self, cell: Cell) -> None:
        content, style = (
            (WEIGHTS.view(3, 1, 1) * shown.double()).sum(0, keepdim=True)
            for shown in (cell.content, *cell.styles)
        )
        style = (style - style.mean()) / style.std(correction=0) * content.std(correction=0) + content.mean()
        self.grey = plain(replace(cell, content=content.expand(3, -1, -1), styles=(style.expand(3, -1, -1),)))
        losses = self.grey.losses
        self.grey.losses = lambda canvas: losses(canvas.expand(3, -1, -1))


def test_the_gradient_of_luminance_is_that_of_a_canvas_of_one_channel():
    cell, start = in_luminance(), image(5, 16)
    mine = engine(
        [cell, readme_cell("conv1_1", size=16, layers=FEW)], [cell.color.encode(start), start], "adam"
    )
    losses, gradient = mine.objective(mine.canvas)
    canvas = mine.canvas[0, :1].clone().requires_grad_()
    theirs = OneChannel(cell).grey.losses(canvas)
    theirs["total"].backward()
    assert losses[0, 0].item() == pytest.approx(theirs["total"].item(), rel=1e-9)
    torch.testing.assert_close(gradient[0, :1], canvas.grad, rtol=1e-9, atol=1e-9 * canvas.grad.abs().max())
    assert not gradient[0, 1:].any()


@pytest.mark.parametrize(("kind", "iterations"), [("adam", 4), ("lbfgs", 22)])
def test_luminance_is_painted_as_torch_paints_a_canvas_of_one_channel(kind, iterations):
    cell = in_luminance()
    start = cell.color.encode(torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0)).double())
    expected = OneChannel(cell).grey.paint(start[:1], kind, iterations)
    canvases, losses = painted(engine([cell], [start], kind), iterations, 1)
    for (total, _), mine in zip(expected, losses[:, 0, 0].tolist(), strict=True):
        assert mine == pytest.approx(total, rel=1e-4)
    # The first step above all, which L-BFGS sets by the gradient's size.
    torch.testing.assert_close(canvases[1][0, :1], expected[1][1], rtol=0, atol=1e-9)
    torch.testing.assert_close(canvases[-1][0, :1], expected[-1][1], rtol=0, atol=1e-4)
    assert not canvases[-1][0, 1:].any()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
def test_rows_of_all_colours_have_the_same_bits_together_and_alone(kind, precision):
    base = readme_cell("conv2_1", size=20, layers=FEW)
    cells = [replace(base, color=color) for color in (StyleColors(), Luminance(), Histogram(), Luminance())]
    cells[3] = replace(cells[3], styles=(image(4, 20),))
    starts = [cell.color.encode(image(5 + row, 20)) for row, cell in enumerate(cells)]
    canvases, losses = painted(engine(cells, starts, kind, dtype=DTYPES[precision]), 4, 1)
    for row, cell in enumerate(cells):
        alone, own = painted(engine([cell], [starts[row]], kind, dtype=DTYPES[precision]), 4, 1)
        assert torch.equal(losses[:, row], own[:, 0])
        for mine, theirs in zip(alone, canvases, strict=True):
            assert torch.equal(mine[0], theirs[row])


def test_images_are_shared_as_before(monkeypatch):
    content, styles = image(0, 16), (image(1, 16), image(2, 16))
    cells = [
        replace(readme_cell(size=16, layers=FEW), content=content, styles=(style,), color=color)
        for style in styles
        for color in (StyleColors(), Luminance())
    ]
    seen = engine(cells, [content] * 4, "adam").objective.cells
    assert seen[0].content is seen[2].content is content
    assert seen[1].content is seen[3].content
    assert len({id(cell.styles[0]) for cell in seen}) == 4


@given(seed=st.integers(0, 99), canvas=st.floats(-0.5, 1.5))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_what_is_shown_has_the_canvas_luminance_and_the_content_chroma(seed, canvas):
    content, color = image(seed, 12).double(), Luminance()
    assert torch.allclose(color.decode(color.encode(content), content), content, atol=1e-12)
    shown = color.decode(torch.full_like(content, canvas), content)
    assert torch.allclose(luminance(shown), torch.full((1, 12, 12), canvas, dtype=torch.float64), atol=1e-12)
    y, cb, cr = ycbcr(shown)
    _, *chroma = ycbcr(content)
    assert torch.allclose(torch.stack([cb, cr]), torch.stack(chroma), atol=1e-12)
    assert y == pytest.approx(canvas)
    assert color.decode(torch.zeros(3, 6, 5), content).shape == (3, 6, 5)  # of a smaller scale


def ycbcr(image: torch.Tensor) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Mean Y, and the planes of Cb and Cr, as BT.601 has them."""
    y = torch.einsum("c,chw->hw", WEIGHTS, image)
    return y.mean().item(), (image[2] - y) / 1.772, (image[0] - y) / 1.402


@given(seed=st.integers(0, 99), tilt=st.floats(1, 2))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_matched_colours_have_the_mean_and_the_covariance_of_the_content(seed, tilt):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.rand(3, 3, generator=generator, dtype=torch.float64) / 2 + tilt * torch.eye(3)
    content = torch.einsum("ij,jhw->ihw", mix, image(seed, 20).double())
    style = torch.einsum("ij,jhw->ihw", mix.mT, image(seed + 1, 15, 9).double())
    matched = match_colors(style, content)
    for mine, theirs in zip(colors(matched), colors(content), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    assert torch.allclose(colors(content)[1], torch.cov(content.flatten(1), correction=0), atol=1e-12)
    # Of all matrices that do it the symmetric root's product is the one the paper names.
    (of, to) = (torch.cov(each.flatten(1), correction=0) for each in (style, content))
    roots = [torch.linalg.eigh(each) for each in (of, to)]
    half = [v @ torch.diag(w.sqrt()) @ v.mT for w, v in roots]
    expected = (
        half[1] @ torch.linalg.inv(half[0]) @ (style.flatten(1) - style.flatten(1).mean(1, keepdim=True))
    )
    torch.testing.assert_close(
        matched.flatten(1), expected + content.flatten(1).mean(1, keepdim=True), rtol=0, atol=1e-9
    )


def test_grey_and_flat_styles_are_matched_as_far_as_they_vary():
    content, grey = image(0, 16), image(1, 16)[:1].expand(3, -1, -1)
    for style in (grey, torch.full((3, 8, 8), 0.25)):
        matched = match_colors(style, content)
        assert matched.isfinite().all()
        assert torch.allclose(colors(matched)[0], colors(content)[0], atol=1e-6)
    flat = match_luminance(torch.full((1, 4, 4), 0.25), luminance(content))
    assert torch.allclose(flat, luminance(content).mean(), atol=1e-6)
    matched = match_luminance(luminance(image(1, 9)), luminance(content))
    assert matched.std(correction=0) == pytest.approx(luminance(content).std(correction=0).item(), rel=1e-5)


def test_matched_colours_are_what_a_file_holds():
    matched = Histogram().recolored(image(0, 16), image(1, 16) * 1.5)
    assert torch.equal(torch.from_numpy(to_uint8(matched)).permute(2, 0, 1).float() / 255, matched)


def test_a_color_that_says_nothing_changes_nothing():
    color, content, style = Color(), image(0, 8), image(1, 8)
    assert color.recolored(style, content) is color.style(style, content) is style
    assert color.content(content) is color.encode(content) is color.decode(content, style) is content
    cell = readme_cell(size=16, layers=FEW)
    mine, theirs = (
        Objective(engine([c], [c.content], "adam").objective.network, [c])
        for c in (cell, replace(cell, color=color))
    )
    for a, b in zip(mine(cell.content[None].double()), theirs(cell.content[None].double()), strict=True):
        assert torch.equal(a, b)


def test_on_a_gpu_no_step_waits_for_the_host() -> None:
    """Tensors that are fake have no numbers: what asks for one fails, and what mixes devices."""
    with FakeTensorMode():
        canvas = torch.empty(2, 3, 4, 5, device="cuda")
        rows = torch.empty(2, 1, 1, 1, dtype=torch.bool, device="cuda")
        assert of_canvas(as_seen(canvas, rows), rows).shape == canvas.shape
