"""L-BFGS's step alone, the gradient being given: milliseconds a step of B canvases."""

import torch
from torch import Tensor

from benchmarks.common import (
    Table,
    Work,
    arguments,
    check_sane,
    device_of,
    fastest,
    publish,
    repeated,
)
from nst.core.optimizers.lbfgs import LBFGS
from nst.core.precision import arithmetic

LR = 1e-3  # so small that no canvas arrives, whatever the history


class TwoLoop:
    """The two-loop recursion (Nocedal & Wright, algorithm 7.4) for B canvases at once.

    As one would write it with a batch in mind: each dot product and each sum for all rows, pair after
    pair. A pair that is refused takes up its slot and counts for nothing. `moves` is on the host: what a
    CUDA graph of this repeats is right if the history was full and the graph goes around the ring.
    """

    def __init__(self, canvas: Tensor, pairs: int) -> None:
        self.canvas, self.pairs, self.moves = canvas, pairs, 0
        self.s = canvas.new_zeros(pairs, *canvas.shape)
        self.y = canvas.new_zeros(pairs, *canvas.shape)
        self.rho = canvas.new_zeros(pairs, len(canvas))
        self.scale = canvas.new_ones(len(canvas))
        self.shift, self.gradient = torch.zeros_like(canvas), torch.zeros_like(canvas)

    def step(self, gradient: Tensor) -> None:
        """Take in the pair of the latest move, and move on."""
        if self.moves == 0:
            direction = -gradient / gradient.abs().sum(1, keepdim=True).clamp(min=1)
        else:
            direction = self._direction(gradient)
        self.shift.copy_(direction * LR)
        self.gradient.copy_(gradient)
        self.canvas += self.shift
        self.moves += 1

    def _direction(self, gradient: Tensor) -> Tensor:
        y = gradient - self.gradient
        curvature = torch.linalg.vecdot(self.shift, y)
        accepted = curvature > 1e-10
        slot = (self.moves - 1) % self.pairs
        self.s[slot], self.y[slot] = self.shift, y
        self.rho[slot] = (1 / curvature).where(accepted, 0)
        scale = curvature / torch.linalg.vecdot(y, y)
        self.scale.copy_(scale.where(accepted, self.scale))
        order = [i % self.pairs for i in range(max(0, self.moves - self.pairs), self.moves)]
        q, alphas = gradient.neg(), {}
        for i in reversed(order):
            alphas[i] = torch.linalg.vecdot(self.s[i], q) * self.rho[i]
            q.addcmul_(self.y[i], alphas[i].unsqueeze(1), value=-1)
        q *= self.scale.unsqueeze(1)
        for i in order:
            beta = torch.linalg.vecdot(self.y[i], q) * self.rho[i]
            q.addcmul_(self.s[i], (alphas[i] - beta).unsqueeze(1))
        return q


class Bowl:
    """x·(d·x)/2 with a fixed d > 0: its gradient costs next to nothing, all its pairs are good."""

    def __init__(self, rows: int, size: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        self.d = (torch.rand(size, generator=generator) + 0.5).to(device)
        self.start = torch.randn(rows, size, generator=generator).to(device)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        gradient = x * self.d
        return torch.linalg.vecdot(x, gradient) / 2, gradient


def race(bowl: Bowl, pairs: int, steps: int, repeats: int) -> dict[str, float]:
    """Seconds that `steps` steps of all rows take, by contestant, with full histories.

    On CUDA ours and the recursion are replayed as graphs; torch's looks at its numbers on the host
    and cannot be.
    """
    device = bowl.start.device
    lr = torch.full((len(bowl.start),), LR, device=device)
    lbfgs = LBFGS(lr, pairs, tolerance_change=0)
    canvas = bowl.start.clone()
    state = lbfgs.init(canvas)
    loop = TwoLoop(bowl.start.clone(), pairs)
    rows = [row.clone().unsqueeze(0).requires_grad_(True) for row in bowl.start]
    steppers = [_torch_steps(row, bowl, pairs, steps) for row in rows]

    def our_step() -> None:
        lbfgs.step(canvas, *bowl(canvas), state)

    def loop_step() -> None:
        loop.step(bowl(loop.canvas)[1])

    def torch_steps() -> None:
        for stepper in steppers:
            stepper()

    for _ in range(pairs // steps + 1):
        torch_steps()
        for _ in range(steps):
            our_step()
            loop_step()
    for name, other in (("torch", torch.cat(rows).detach()), ("two-loop", loop.canvas)):
        apart = (canvas - other).norm() / (canvas - bowl.start).norm()
        if not apart < 1e-2:
            raise SystemExit(f"nst's and {name}'s moves are {apart:.2g} apart; not worth timing")
    contestants = {
        "nst": repeated(our_step, steps, device),
        "torch": torch_steps,
        "two-loop": repeated(loop_step, steps, device),
    }
    seconds = fastest(contestants, device, repeats)
    check_sane("nst", canvas)
    return seconds


def _torch_steps(row: Tensor, bowl: Bowl, pairs: int, steps: int) -> Work:
    optimizer = torch.optim.LBFGS([row], lr=LR, max_iter=steps, history_size=pairs, tolerance_change=0)

    @torch.no_grad()
    def closure() -> float:
        loss, row.grad = bowl(row)
        return float(loss)

    return lambda: optimizer.step(closure)


def main() -> None:
    """One race for each history and batch."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--size", type=int, default=128, help="of the canvases, pixels")
    parser.add_argument("--pairs", type=int, nargs="+", default=[10, 50, 100], help="histories")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 5, 15], help="B")
    options = parser.parse_args()
    device = device_of(options.device)
    table = Table(
        f"Milliseconds a step of B canvases, N = 3 x {options.size} x {options.size}, float32",
        ["pairs", "B", "nst", "torch, one by one", "two-loop", "torch / nst", "two-loop / nst"],
    )
    for pairs in options.pairs:
        # A graph of the recursion has to go around the ring.
        steps = pairs if device.type == "cuda" else min(pairs, 10)
        for rows in options.batches:
            with arithmetic("fp32"):
                bowl = Bowl(rows, 3 * options.size**2, device)
                seconds = race(bowl, pairs, steps, options.repeats)
            ours, theirs, loop = (each / steps * 1e3 for each in seconds.values())
            table.add(pairs, rows, ours, theirs, loop, theirs / ours, loop / ours)
    publish("L-BFGS's step alone", [table], device, options.out)


if __name__ == "__main__":
    main()
