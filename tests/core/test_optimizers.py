"""Every optimizer on every problem, against `torch.optim`, row by row."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nst.core.optimizers.adam import Adam
from nst.core.optimizers.lbfgs import CHUNK, LBFGS


def quadratic(x: Tensor) -> Tensor:
    scales = torch.logspace(0, 2, x.shape[-1], dtype=x.dtype)
    return 0.5 * (scales * x * x).sum(-1)


def rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[..., 1:] - x[..., :-1] ** 2) ** 2 + (1 - x[..., :-1]) ** 2).sum(-1)


# Name, function, learning rate, spread of the starting points.
PROBLEMS = {"quadratic": (quadratic, 1.0, 1.0), "rosenbrock": (rosenbrock, 0.3, 0.1)}
OPTIMIZERS = {
    "adam": (Adam, lambda x, lr: torch.optim.Adam(x, lr=lr)),
    **{
        f"lbfgs_{pairs}": (
            lambda lr, pairs=pairs: LBFGS(lr, pairs),
            lambda x, lr, pairs=pairs: torch.optim.LBFGS(x, lr=lr, history_size=pairs),
        )
        for pairs in (1, 5, 20, 100)
    },
}


def theirs(f: Callable, make: Callable, x: Tensor, lr: float, evaluations: int) -> list[Tensor]:
    """The points at which `torch.optim` evaluates `f`, stepped on and on."""
    x = x.clone().requires_grad_(True)
    stepper, seen = make([x], lr), []

    def closure() -> Tensor:
        stepper.zero_grad()
        loss = f(x)
        loss.backward()
        seen.append(x.detach().clone())
        return loss

    while len(seen) < evaluations:
        stepper.step(closure)
    return seen[:evaluations]


def ours(f: Callable, optimizer, x: Tensor, evaluations: int, state=None) -> list[Tensor]:
    x = x.clone()
    state = state if state is not None else optimizer.init(x)
    seen = []
    for _ in range(evaluations):
        seen.append(x.clone())
        at = x.clone().requires_grad_(True)
        loss = f(at)
        loss.sum().backward()
        optimizer.step(x, loss.detach(), at.grad, state)
    return seen


@pytest.mark.parametrize("size", [2, 100, CHUNK + 7])
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_row_goes_where_torch_goes(name, problem, size):
    f, lr, spread = PROBLEMS[problem]
    mine, their = OPTIMIZERS[name]
    x = spread * torch.randn(3, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    # Three rates in one batch. Past some steps a problem amplifies rounding without bound, whoever
    # solves it, so the comparison ends earlier where the history is too short to converge.
    rates = torch.tensor([lr, 0.7 * lr, 0.5 * lr], dtype=torch.float64)
    evaluations = 40 if name == "lbfgs_1" else 60
    points = ours(f, mine(rates), x, evaluations)
    for row in range(3):
        expected = theirs(f, their, x[row], rates[row].item(), evaluations)
        for step, point in enumerate(expected):
            error = (points[step][row] - point).norm()
            assert error <= 1e-6 * point.norm() + 1e-9, (row, step)


def test_more_steps_than_history_goes_round_the_ring():
    f, lr, spread = PROBLEMS["rosenbrock"]
    x = spread * torch.randn(1, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    optimizer = LBFGS(torch.full((1,), lr, dtype=torch.float64), pairs=7)
    state = optimizer.init(x)
    points = ours(f, optimizer, x, 50, state)
    assert state.moves.item() == 50
    assert (state.history.curvature > 0).sum() == 7  # the eighth slot is free
    expected = theirs(f, lambda x, lr: torch.optim.LBFGS(x, lr=lr, history_size=7), x[0], lr, 50)
    torch.testing.assert_close(points[-1][0], expected[-1], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_row_that_is_nan_or_done_does_not_disturb_the_others(name):
    f, lr, _ = PROBLEMS["quadratic"]
    make = OPTIMIZERS[name][0]
    x = torch.randn(3, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[0], x[2] = torch.nan, 0.0  # 0 is the minimum
    rates = torch.full((3,), lr, dtype=torch.float64)
    together = ours(f, make(rates), x, 30)
    alone = ours(f, make(rates[:1]), x[1:2], 30)
    torch.testing.assert_close(together[-1][1:2], alone[-1], rtol=1e-10, atol=1e-12)
    assert (together[-1][2] == 0).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_that_was_saved_goes_on_as_if_nothing_had_happened(name, tmp_path):
    f, lr, spread = PROBLEMS["rosenbrock"]
    x = spread * torch.randn(2, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    optimizer = OPTIMIZERS[name][0](torch.full((2,), lr, dtype=torch.float64))
    straight = ours(f, optimizer, x, 31)
    state = optimizer.init(x)
    half = ours(f, optimizer, x, 16, state)[15]
    # The state after 15 moves is what goes on from the 16th point.
    state = optimizer.init(x)
    ours(f, optimizer, x, 15, state)
    torch.save(dataclasses.asdict(state), tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    fresh = optimizer.init(x)
    restore(fresh, saved)
    torch.testing.assert_close(ours(f, optimizer, half, 16, fresh)[-1], straight[-1], rtol=0, atol=0)


def restore(state, saved: dict) -> None:
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if dataclasses.is_dataclass(value):
            restore(value, saved[field.name])
        else:
            value.copy_(saved[field.name])


def test_rows_without_curvature_fall_back_to_the_gradient_each_on_its_own():
    # f is linear in row 0: no pair has s·y > 1e-10, so its direction stays -g.
    def f(x: Tensor) -> Tensor:
        return torch.stack([x[0].sum(), quadratic(x[1])])

    x = torch.ones(2, 6, dtype=torch.float64)
    optimizer = LBFGS(torch.tensor([0.1, 1.0], dtype=torch.float64))
    state = optimizer.init(x)
    points = ours(f, optimizer, x, 12, state)
    torch.testing.assert_close(points[2][0] - points[1][0], torch.full((6,), -0.1).double())
    assert (state.history.curvature[0] > 0).sum() == 0
    assert (state.history.curvature[1] > 0).sum() > 3
