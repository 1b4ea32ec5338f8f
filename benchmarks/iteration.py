"""One iteration of one canvas by its parts, against the floor: its convolutions timed alone."""

import argparse
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import (
    MODEL,
    Table,
    Work,
    arguments,
    canvases,
    check_sane,
    default_cell,
    device_of,
    fastest,
    objective,
    optimizer_of,
    painting,
    publish,
    repeated,
    weights,
)
from benchmarks.plain import PlainLoop
from nst.core.engine import Engine
from nst.core.losses.total_variation import total_variation, total_variation_gradient
from nst.core.objective import Objective
from nst.core.precision import DTYPES, arithmetic
from nst.core.vgg import VGG, Pass

aten = torch.ops.aten
KEPT, PLAIN = WEIGHTS = ("weights kept in blocks", "PyTorch's own")
OPTIMIZERS = ("adam", "lbfgs")


def network(goal: Objective) -> VGG:
    """The network of an objective, which is ours."""
    assert isinstance(goal.network, VGG)
    return goal.network


def _inputs(run: Pass) -> list[Tensor]:
    """What each convolution is given."""
    return [x for kept in run.kept if kept is not None for x in kept.outputs[:-1]]


def convolutions(goal: Objective, run: Pass) -> dict[str, Work]:
    """Each convolution, forward and back to its input, by `layer, direction, weights`."""
    works: dict[str, Work] = {}
    for stage, x in zip(network(goal).stages, _inputs(run), strict=True):
        ours = stage.convolution
        forward = partial(F.conv2d, x, ours.weight, ours.bias, padding=1)
        gradient = torch.randn_like(forward())
        works[f"{stage.layer}, forward, {KEPT}"] = partial(ours.forward, x, relu=True)
        works[f"{stage.layer}, backward, {KEPT}"] = partial(ours.backward, gradient, x)
        works[f"{stage.layer}, forward, {PLAIN}"] = forward
        works[f"{stage.layer}, backward, {PLAIN}"] = partial(
            aten.convolution_backward,
            *(gradient, x, ours.weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
            [True, False, False],
        )
    return works


def the_rest(goal: Objective, run: Pass, canvas: Tensor) -> dict[str, Work]:
    """What an iteration does besides its convolutions, done as the engine does it, by part."""
    blocks = [kept for kept in run.kept if kept is not None]
    pooling = network(goal).pooling
    pools = [
        (kept.outputs[-1], kept.pooling, torch.randn_like(x))
        for kept, x in zip(blocks, run.inputs[1:], strict=False)
        if kept.pooling is not None
    ]
    # Of each ReLU, but behind the last of a block what is pooled of it, and at the end nothing.
    outputs = [x for kept in blocks for x in kept.outputs[1:-1]] + run.inputs[1:]
    gradients = [torch.randn_like(x) for x in outputs]
    terms = [(term, run.features[tap]) for tap, each in goal._terms.items() for term in each]
    values = canvas.new_zeros(len(canvas), len(terms))
    sums = {tap: torch.zeros_like(features) for tap, features in run.features.items()}
    tv_weight = canvas.new_full((len(canvas),), 1.2)
    record, cursor = canvas.new_zeros(10, len(canvas), 10), torch.zeros_like(tv_weight).long()
    row, image = record[:1].clone(), run.inputs[0]

    def relu_backward() -> None:
        for gradient, x in zip(gradients, outputs, strict=True):
            aten.threshold_backward.grad_input(gradient, x, 0, grad_input=gradient)

    def pool() -> None:
        for wide, _, _ in pools:
            pooling.forward(wide)

    def pool_backward() -> None:
        for wide, places, gradient in pools:
            pooling.backward(gradient, wide, places)

    def evaluate() -> None:
        for term, features in terms:
            term.evaluate(features, values)

    def add_gradients() -> None:
        for tap, each in goal._terms.items():
            for term in each:
                term.add_gradient(run.features[tap], sums[tap])

    def variation() -> None:
        total_variation(canvas)
        total_variation_gradient(canvas, tv_weight)

    def in_and_out() -> None:
        canvas.to(image.dtype, memory_format=torch.channels_last)
        torch.zeros_like(canvas).add_(image)

    works: dict[str, Work] = {
        "ReLU, backward": relu_backward,
        "pooling": pool,
        "pooling, backward": pool_backward,
        "Gram matrices and losses": evaluate,
        "their gradients": add_gradients,
        "total variation": variation,
        "canvas in, gradient out": in_and_out,
        "record": lambda: record.index_copy_(0, cursor, row),
    }
    for name in OPTIMIZERS:
        works[name] = optimizer_step(name, canvas)
    return works


def optimizer_step(name: str, canvas: Tensor) -> Work:
    """A step from a gradient that is there, on a canvas of its own."""
    optimizer, painted = optimizer_of(name, len(canvas), canvas.device), canvas.clone()
    state, gradient = optimizer.init(painted), torch.randn_like(painted)
    touch_history(state)
    loss = canvas.new_ones(len(canvas))
    return lambda: optimizer.step(painted, loss, gradient, state)


def touch_history(state: object) -> None:
    """Give an empty L-BFGS history memory of its own: fresh zeros all share one page, and its cache."""
    if history := getattr(state, "history", None):
        history.blocks.normal_()  # slots without a pair count for nothing, whatever they hold


def paint(name: str, goal: Objective, canvas: Tensor, iterations: int, rounds: int) -> Work:
    """The engine's next `iterations` iterations, with one frame."""
    engine = Engine(goal, optimizer_of(name, len(canvas), canvas.device), canvas)
    touch_history(engine.state)
    return painting(engine, iterations, iterations, 10 * (rounds + 2) * iterations)


def measure(options: argparse.Namespace, device: torch.device, precision: str) -> list[Table]:
    """The tables of one precision."""
    times, rounds = options.iterations or (5 if device.type == "cpu" else 50), options.repeats
    goal = objective(options.size, 1, device, precision)
    canvas = canvases(options.size, 1).to(device)
    run = goal.network.forward(canvas)
    for features in run.inputs:
        check_sane("features", features)
    parts = {"conv": convolutions(goal, run), "rest": the_rest(goal, run, canvas)}
    loop = PlainLoop(
        *(MODEL, weights(), default_cell(options.size), canvas[0].cpu(), device, "adam"),
        cached=True,
        frozen=True,
        dtype=DTYPES[precision],
    )

    def convolve() -> None:
        for work in in_turn:
            work()

    in_turn = [work for name, work in parts["conv"].items() if name.endswith(KEPT)]
    whole: dict[str, Work] = {"convolutions in turn": repeated(convolve, times, device)}
    for name in OPTIMIZERS:
        whole[f"engine, {name}"] = paint(name, goal, canvas, times, rounds)
    whole["textbook loop, adam"] = lambda: loop.run(times)
    alone = {
        f"{kind}: {name}": repeated(work, times, device)
        for kind, works in parts.items()
        for name, work in works.items()
    }
    seconds = fastest(alone | whole, device, rounds)
    milliseconds = {name: taken / times * 1e3 for name, taken in seconds.items()}
    check_sane("textbook loop", loop.canvas.detach())
    return tables(goal, milliseconds, list(parts["rest"]), list(whole), precision)


def tables(
    goal: Objective, ms: dict[str, float], rest: list[str], whole: list[str], precision: str
) -> list[Table]:
    """Lay the milliseconds out: by convolution, and by part with the floor and the whole."""
    by_layer = Table(
        f"{precision}: each convolution alone, ms",
        ["layer", *(f"{way}, {name}" for name in WEIGHTS for way in ("forward", "backward"))],
    )
    columns: list[Callable[[str], float]] = [
        lambda layer, way=way, name=name: ms[f"conv: {layer}, {way}, {name}"]  # type: ignore[misc]
        for name in WEIGHTS
        for way in ("forward", "backward")
    ]
    layers = [stage.layer for stage in network(goal).stages]
    for layer in layers:
        by_layer.add(layer, *(column(layer) for column in columns))
    totals = [sum(map(column, layers)) for column in columns]
    by_layer.add("all", *totals)

    floor, plain = sum(totals[:2]), sum(totals[2:])
    by_part = Table(f"{precision}: an iteration by part", ["part", "ms", "/ floor"])

    def add(name: str, value: float) -> None:
        by_part.add(name, value, value / floor)

    add("floor: convolutions, " + KEPT, floor)
    add("convolutions, " + PLAIN, plain)
    for name in rest:
        add(name, ms[f"rest: {name}"])
    common = floor + sum(ms[f"rest: {name}"] for name in rest if name not in OPTIMIZERS)
    for name in OPTIMIZERS:
        add(f"sum of the parts, {name}", common + ms[f"rest: {name}"])
    for name in whole:
        add(name, ms[name])
    return [by_part, by_layer]


def main() -> None:
    """Tables for each precision."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--size", type=int, default=128, help="of the canvas, pixels")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--iterations", type=int, help="in a round; default: 5; on CUDA 50")
    options = parser.parse_args()
    device, found = device_of(options.device), list[Table]()
    for precision in options.precisions:
        with arithmetic(precision), torch.no_grad():
            found += measure(options, device, precision)
    publish("One iteration against its convolutions", found, device, options.out)


if __name__ == "__main__":
    main()
