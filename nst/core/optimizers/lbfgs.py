"""L-BFGS for B rows at once, by the compact representation of the inverse Hessian."""

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from nst.core.optimizers import OptimizerConfig
from nst.core.streams import side_stream
from nst.errors import NstError

HISTORY = 100  # secant pairs, torch's default
CHUNK = 4096  # numbers of a row in one block of the history; enough blocks to keep a GPU busy
LINE = 16  # a block is a multiple of so many: a product rounds by where in a cache line its factors begin


@dataclass
class History:
    """The secant pairs of B rows, in a ring of slots that is never copied or shifted.

    With M = history + 1 slots a row (one is always free for the next pair), the blocks take
    2·M·N numbers a row in the canvas's dtype: 40 MB a row at 128 px and history 100 in float32,
    159 MB at 256 px, 635 MB at 512 px. The rest is small: 2·M² + 2·M float64 numbers a row.

    Attributes:
        blocks: `[B, chunks, 2·M, CHUNK]`: s in slot i, y in slot M + i; each row's N numbers in chunks.
        slot: `[B]`, the free slot.
        inverse: `[B, M, M]` float64, the inverse of R, the upper triangle of SᵀY in order of age
            (R_ij = s_i·y_j for i not younger than j), in slot order; zero where a slot holds no pair.
        curvature: `[B, M]` float64, s_i·y_i; zero where a slot holds no pair.
        gram: `[B, M, M]` float64, YᵀY; likewise.
        scale: `[B]` float64, γ = s·y / y·y of the latest pair, the initial inverse Hessian; 1 at first.
    """

    blocks: Tensor
    slot: Tensor
    inverse: Tensor
    curvature: Tensor
    gram: Tensor
    scale: Tensor

    @classmethod
    def empty(cls, rows: int, size: int, pairs: int, like: Tensor) -> "History":
        """No pairs yet, for rows of `size` numbers."""
        slots, chunks = pairs + 1, -(-size // CHUNK)
        small = like.new_zeros(rows, slots, dtype=torch.float64)
        square = like.new_zeros(rows, slots, slots, dtype=torch.float64)
        return cls(
            blocks=like.new_zeros(rows, chunks, 2 * slots, min(CHUNK, -(-size // LINE) * LINE)),
            slot=like.new_zeros(rows, dtype=torch.long),
            inverse=square,
            curvature=small,
            gram=square.clone(),
            scale=like.new_ones(rows, dtype=torch.float64),
        )

    def put(self, s: Tensor, y: Tensor) -> None:
        """Put a pair, `[B, N]` each, into the free slots; `direction` takes it in, or leaves it out."""
        self._write(s, self.slot)
        self._write(y, self.slot + self.curvature.shape[1])

    def direction(self, gradient: Tensor, products: Tensor, moved: Tensor) -> Tensor:
        """Take in the new pairs of the rows that `moved`, and return -H·gradient for every row.

        A pair with s·y <= 1e-10 is left out, for each row on its own. Then (Byrd, Nocedal & Schnabel,
        Math. Program. 63, 1994, theorem 2.2), with p = Sᵀg and q = Yᵀg,

            H·g = γ·g + S·R⁻ᵀ·((D + γ·YᵀY)·R⁻¹·p - γ·q) - γ·Y·R⁻¹·p.

        The history is read twice: for all products of S and Y with g and y, and for the sum.

        Args:
            gradient: `[B, N]`.
            products: of S and Y with g and the new y, `[B, 2·M, 2]`.
            moved: `[B]`, bool.

        Returns:
            `[B, N]`.
        """
        with_s, with_y = products.split(self.curvature.shape[1], 1)  # [B, M, 2]: S, Y times g, y
        self._take_in(with_s[..., 1], with_y[..., 1], moved)

        unused = self.curvature <= 0
        scale = self.scale.unsqueeze(1)
        p = with_s[..., 0].masked_fill(unused, 0)
        q = with_y[..., 0].masked_fill(unused, 0)
        u = _times(self.inverse, p)
        w = _times(self.inverse.mT, self.curvature * u + scale * (_times(self.gram, u) - q))
        return self._combine(torch.cat([-w, scale * u], 1), gradient)

    def _take_in(self, s_y: Tensor, y_y: Tensor, moved: Tensor) -> None:
        """Let the free slot's pair in where the curvature test allows it, and the oldest out.

        R grows by a column r and loses its first row and column. The inverse of a triangle's trailing
        part is the trailing part of its inverse, and the new column is -R⁻¹·r / ρ over 1/ρ, so the
        triangular solve for the new column is all the work, whatever order the ring is in.
        """
        slots = self.curvature.shape[1]
        index, slot = torch.arange(slots, device=self.slot.device), self.slot.unsqueeze(1)
        s_y_new, y_y_new = s_y.gather(1, slot), y_y.gather(1, slot)  # [B, 1]
        accepted = moved.unsqueeze(1) & (s_y_new > 1e-10)
        new = (index == slot) & accepted  # [B, M], one-hot
        free = (slot + 1) % slots
        out = (index == free) & accepted

        self.curvature.masked_fill_(out, 0)
        rows_and_columns = out.unsqueeze(2) | out.unsqueeze(1)
        self.inverse.masked_fill_(rows_and_columns, 0)
        self.gram.masked_fill_(rows_and_columns, 0)
        column = _times(self.inverse, s_y.masked_fill(self.curvature <= 0, 0)).neg_()
        column = column.masked_fill_(new, 1).div_(s_y_new.masked_fill(~accepted, 1))
        _set(self.inverse, new.unsqueeze(1), column.unsqueeze(2))
        _set(self.curvature, new, s_y)
        y_y = y_y.masked_fill(self.curvature <= 0, 0)
        _set(self.gram, new.unsqueeze(1), y_y.unsqueeze(2))
        _set(self.gram, new.unsqueeze(2), y_y.unsqueeze(1))
        _set(self.scale, accepted.squeeze(1), (s_y_new / y_y_new).squeeze(1))
        _set(self.slot, accepted.squeeze(1), free.squeeze(1))

    def _write(self, row: Tensor, slot: Tensor) -> None:
        """Put `row` `[B, N]` into block `slot` `[B]` of each row."""
        chunks = self._chunked(row).unsqueeze(2)
        self.blocks.scatter_(2, slot.view(-1, 1, 1, 1).expand_as(chunks), chunks)

    def products(self, *vectors: Tensor) -> Tensor:
        """The blocks times k vectors `[B, N]`, summed over chunks in float64, `[B, 2·M, k]`."""
        rows, chunks, height, _ = self.blocks.shape
        # Vectors first: with the few of them as columns the product is several times slower.
        each = torch.stack([self._chunked(vector) for vector in vectors], 2)
        products = each.flatten(0, 1) @ self.blocks.flatten(0, 1).mT
        return products.view(rows, chunks, -1, height).double().sum(1).mT

    def _combine(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """The blocks summed with `weights` `[B, 2·M]`, less γ times the gradient, `[B, N]`."""
        rows, chunks, height, _ = self.blocks.shape
        each = weights.to(gradient.dtype).view(rows, 1, 1, height).expand(-1, chunks, -1, -1)
        total = each.flatten(0, 1) @ self.blocks.flatten(0, 1)
        total = total.view(rows, -1)[:, : gradient.shape[1]]
        return total - self.scale.to(gradient.dtype).unsqueeze(1) * gradient

    def _chunked(self, row: Tensor) -> Tensor:
        """`[B, N]` as `[B, chunks, CHUNK]`, zeros behind the end."""
        _, chunks, _, width = self.blocks.shape
        padding = chunks * width - row.shape[1]
        return torch.nn.functional.pad(row, (0, padding)).view(row.shape[0], chunks, width)


def _set(target: Tensor, where: Tensor, value: Tensor) -> None:
    """Change `target` to `value` in place, where so said."""
    torch.where(where, value, target, out=target)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    # Not `@`, which rounds by where in a cache line a matrix begins: these have an odd number of rows.
    return (matrix * vector.unsqueeze(1)).sum(2)


@dataclass
class LBFGSState:
    """Everything a step reads and changes; `[B]` or `[B, N]` where not said otherwise."""

    history: History
    inner: Tensor  # moves since torch's step() began; 0 where the next evaluation begins one
    moves: Tensor  # directions computed so far
    loss: Tensor  # at the latest move
    gradient: Tensor  # at the latest move
    shift: Tensor  # the latest move


@dataclass(frozen=True)
class LBFGS:
    """What `torch.optim.LBFGS` with its defaults does when it is stepped on and on, for B rows at once.

    Seen from outside that is L-BFGS with a fixed step and one evaluation an iteration: the first move is
    -min(1, 1/|g|₁)·lr·g, each later one -lr·H·g. torch leaves `step()` early where it sees convergence,
    and the next `step()` begins by evaluating the same canvas again; such a row rests for one evaluation
    here as well. Rows never look at each other: one that is NaN or at rest does not disturb the others.

    Attributes:
        lr: step length of each row, `[B]`, on the canvas's device.
        pairs: length of the history; for what it takes in memory see `History`.
        inner: moves in one `step()` of torch's (its `max_iter`), which only matter to how it rests.
    """

    lr: Tensor
    pairs: int = 100
    inner: int = 20
    tolerance_grad: float = 1e-7
    tolerance_change: float = 1e-9

    def of(self, rows: slice) -> Self:
        """The same for some of the rows."""
        return replace(self, lr=self.lr[rows])

    def init(self, canvas: Tensor) -> LBFGSState:
        """A fresh state; see `History` for its size."""
        rows = canvas.shape[0]
        flat = canvas.reshape(rows, -1)
        counters = torch.zeros(rows, dtype=torch.long, device=canvas.device)
        return LBFGSState(
            History.empty(rows, flat.shape[1], self.pairs, canvas),
            counters,
            counters.clone(),
            flat.new_zeros(rows),
            torch.zeros_like(flat),
            torch.zeros_like(flat),
        )

    @torch.no_grad()
    def step(self, canvas: Tensor, loss: Tensor, gradient: Tensor, state: LBFGSState) -> None:
        """Move `canvas` `[B, ...]` in place, given `loss` `[B]` and `gradient` `[B, ...]` there."""
        g = gradient.reshape(len(canvas), -1)
        y, side = g - state.gradient, side_stream(canvas.device)
        with side.forked():
            goes, first, length = self._moves(g, loss, state)
        state.history.put(state.shift, y)
        products = state.history.products(g, y)
        side.join()
        direction = state.history.direction(g, products, goes & ~first)
        shift = direction * length.unsqueeze(1)
        descends = ~(torch.linalg.vecdot(g, direction) > -self.tolerance_change)

        column, moves = goes.unsqueeze(1), goes & descends
        flat = canvas.view(g.shape)
        _set(flat, moves.unsqueeze(1), flat + shift)
        state.inner.copy_((state.inner % self.inner + 1).masked_fill(~moves, 0))
        state.moves += goes
        _set(state.loss, goes, loss)
        _set(state.gradient, column, g)
        _set(state.shift, column, shift)

    def _moves(self, g: Tensor, loss: Tensor, state: LBFGSState) -> tuple[Tensor, Tensor, Tensor]:
        """Of each row, `[B]`: does it move, is it for the first time, and how far along its direction."""
        begins = state.inner % self.inner == 0
        rests = (g.abs().amax(1) <= self.tolerance_grad) | (
            ~begins
            & (
                (state.shift.abs().amax(1) <= self.tolerance_change)
                | ((loss - state.loss).abs() < self.tolerance_change)
            )
        )
        first = state.moves == 0
        least = (1 / g.abs().sum(1)).clamp(max=1)
        return ~rests, first, self.lr.where(~first, self.lr * least)


@dataclass
class LBFGSConfig(OptimizerConfig):
    """`optimizer=lbfgs`."""

    name: str = "lbfgs"
    lr: float = 1.0
    history_size: int = HISTORY  # torch's name

    @property
    def canvases(self) -> int:  # type: ignore[override]  # of other optimizers it is the same for all
        return 2 * (self.history_size + 1)

    def build(self, lr: Tensor) -> LBFGS:
        return LBFGS(lr, self.history_size)

    def check(self) -> None:
        super().check()
        if self.clamps:  # a pair would not be that of the move that was made
            raise NstError(
                "optimizer.bounds=clamp: L-BFGS has no bounds; give optimizer.bounds=none, or optimizer=adam"
            )
        if self.history_size < 1:
            raise NstError(f"optimizer.history_size={self.history_size}: must be at least 1; give more")

    def identity(self) -> Any:
        # Cells were painted before there was a choice: what they had is not told.
        told = super().identity()
        if self.history_size == HISTORY:
            del told["history_size"]
        return told
