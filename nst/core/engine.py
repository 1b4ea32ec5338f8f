"""Objective + optimizer + canvas -> a stream of snapshots, with nothing on the way that waits."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from nst.core.iterates import Iterates
from nst.core.objective import Objective
from nst.core.optimizers import Optimizer, State
from nst.core.rows import part, parts
from nst.core.streams import capture_stream

log = logging.getLogger(__name__)

# Iterations before the step is captured: libraries choose their algorithms and allocate in the first.
WARM_UP = 3
# Snapshots on their way to the host before the engine waits for one.
IN_FLIGHT = 4
# A snapshot follows the one before after so long, or so many iterations, whichever comes first.
REPORT_SECONDS = 0.25
REPORT_ITERATIONS = 1000


@dataclass(frozen=True)
class Snapshot:
    """The losses since the snapshot before, and at a frame the canvases.

    Attributes:
        iteration: 0 is the initial canvas.
        canvas: `[B, 3, H, W]` on the CPU, as evaluated at `iteration`, or averaged up to there; None where
            no frame is kept.
        losses: `[n, B, K]` on the CPU, of the n iterations up to and including `iteration`; columns as
            in `Objective.columns`.
    """

    iteration: int
    canvas: Tensor | None
    losses: Tensor


def save_points(iterations: int, save_every: int) -> list[int]:
    """The iterations whose canvas is kept: 0, save_every, 2·save_every, ..., and the last."""
    points = list(range(0, iterations, save_every))
    return points if points[-1] == iterations - 1 else [*points, iterations - 1]


class Engine:
    """Paints B canvases together.

    On CUDA the whole step (forward, backward, record, update) is captured in a graph and replayed, so
    that the host launches one thing an iteration. On the CPU, or where capturing fails, it runs eagerly.
    On the CPU a row's canvas is the same, bit for bit, whatever else is in the batch (`nst.core.rows`).

    Attributes:
        canvas: `[B, 3, H, W]`, painted in place.
        state: the optimizer's, a fresh one if none is given; with `canvas` and `iterates` it is all that the
            next iteration depends on.
        iterates: what clamps and averages the canvases; None leaves them.
        capture_seconds: what warming up and capturing took; 0 where nothing is captured.
        done: evaluations so far.
        settles: whether to hand over each snapshot before going on, so that `tensors` are as they were
            after its iteration; painting is slower on CUDA while that is so.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer[State],
        canvas: Tensor,
        *,
        state: Any = None,
        iterates: Iterates | None = None,
        capture: bool = True,
    ) -> None:
        network = objective.network
        self.objective, self.optimizer, self.iterates = objective, optimizer, iterates
        self.canvas = canvas.to(network.device, network.wide, copy=True)
        self.state = optimizer.init(self.canvas) if state is None else state
        self._parts = [
            (rows, optimizer.of(rows), part(self.state, rows), iterates and part(iterates, rows))
            for rows in parts(len(canvas), network.device)
        ]
        self.capture = capture and network.device.type == "cuda"
        self.capture_seconds = 0.0
        self.done = 0
        self.settles = False

    @property
    def shown(self) -> Tensor:
        """What a row's canvas is to others, `[B, 3, H, W]`: its average, where it has one."""
        return self.canvas if self.iterates is None else self.iterates.average

    def tensors(self) -> dict[str, Tensor]:
        """By name, the tensors that all further iterations depend on: those in use, not copies."""
        iterates = {} if self.iterates is None else _tensors("iterates", self.iterates)
        return {"canvas": self.canvas, **_tensors("state", self.state), **iterates}

    def restore(self, tensors: Mapping[str, Tensor], done: int) -> None:
        """Go on from `tensors` of an engine of the same cells that had done `done` evaluations."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        self.done = done

    def paint(self, iterations: int, save_every: int, until: int | None = None) -> Iterator[Snapshot]:
        """Run evaluations up to `iterations` in all, or `until` so many of these, and yield snapshots.

        There is one with the canvases at each of `save_points`, and in between one without them every
        `REPORT_SECONDS` or `REPORT_ITERATIONS`: when these come depends on the time, what is painted does
        not.
        The canvas moves after each evaluation. Snapshots leave the device asynchronously; a few may be
        on their way while later iterations already run.
        """
        device = self.canvas.device
        rows, columns = len(self.canvas), len(self.objective.columns)
        until = until or iterations
        record = self.canvas.new_zeros(min(REPORT_ITERATIONS, until), rows, columns)
        cursor = torch.zeros(1, dtype=torch.long, device=device)

        def step() -> None:
            losses, gradient = self.objective(self.canvas)
            record.index_copy_(0, cursor, losses.unsqueeze(0))
            cursor.add_(1)
            for rows, optimizer, state, iterates in self._parts:
                optimizer.step(self.canvas[rows], losses[rows, 0], gradient[rows], state)
                if iterates is not None:
                    iterates.step(self.canvas[rows])

        run, on_way, began, pace = step, deque[_OnWay](), self.done, _Pace()
        frames = {point for point in save_points(iterations, save_every) if point < until}
        for point in sorted({*frames, until - 1}):
            while self.done <= point:
                first, last = self.done, min(point, self.done + pace.iterations - 1)
                # The host's clock, too: on the CPU an iteration may take longer than those before.
                due = time.perf_counter() + REPORT_SECONDS
                while self.done < last and time.perf_counter() < due:
                    run = self._advance(run, step, self.done - began)
                canvas = _to_host(self.shown) if self.done in frames else None
                run = self._advance(run, step, self.done - began)
                losses = _to_host(record[: self.done - first])
                cursor.zero_()
                on_way.append(_OnWay(Snapshot(self.done - 1, canvas, losses), device))
                while len(on_way) > (0 if self.settles or device.type == "cpu" else IN_FLIGHT):
                    yield pace.arrived(on_way.popleft())
        while on_way:
            yield on_way.popleft().arrived()

    def _advance(self, run: Callable[[], None], step: Callable[[], None], count: int) -> Callable[[], None]:
        """One iteration, of which there were `count` in this process; returns what runs the next."""
        if self.capture and count < WARM_UP:
            started = time.perf_counter()
            _warm_up(step, self.canvas.device)
            if count + 1 == WARM_UP:
                run = self._captured(step)
            self.capture_seconds += time.perf_counter() - started
        else:
            run()
        self.done += 1
        return run

    def _captured(self, step: Callable[[], None]) -> Callable[[], None]:
        """`step` as a graph; `step` itself, said once, where it cannot be captured."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=capture_stream(self.canvas.device)):
                step()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.capture = False
            log.warning("The step cannot be captured, painting eagerly: %s", error)
            return step
        return graph.replay


def _tensors(name: str, value: object) -> dict[str, Tensor]:
    """The tensors of a dataclass of tensors and such dataclasses, by dotted name."""
    if isinstance(value, Tensor):
        return {name: value}
    assert is_dataclass(value)
    found: dict[str, Tensor] = {}
    for entry in fields(value):
        found |= _tensors(f"{name}.{entry.name}", getattr(value, entry.name))
    return found


def _warm_up(step: Callable[[], None], device: torch.device) -> None:
    """Run `step` on the stream that it will be captured on."""
    stream = capture_stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream(device).wait_stream(stream)


def _to_host(tensor: Tensor) -> Tensor:
    """A copy on the CPU; from CUDA through pinned memory, without waiting for it."""
    if tensor.device.type == "cpu":
        return tensor.clone()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


class _OnWay:
    """A snapshot whose copies have been asked for, and when the device came so far."""

    def __init__(self, snapshot: Snapshot, device: torch.device) -> None:
        self.snapshot, self.moment = snapshot, time.perf_counter()
        self.event: torch.cuda.Event | None = None
        if device.type == "cuda":
            self.event = torch.cuda.Event(enable_timing=True)
            self.event.record()

    def arrived(self) -> Snapshot:
        """The snapshot, once it is there."""
        if self.event is not None:
            self.event.synchronize()
        return self.snapshot

    def seconds_since(self, before: "_OnWay") -> float:
        """What the device took from `before`, both arrived: on CUDA the host's clock does not tell."""
        if self.event is not None and before.event is not None:
            return float(before.event.elapsed_time(self.event)) / 1e3
        return self.moment - before.moment


class _Pace:
    """How many iterations the next snapshot may wait for: few until it is known how long they take."""

    def __init__(self) -> None:
        self.iterations = 1
        self._before: _OnWay | None = None

    def arrived(self, sent: _OnWay) -> Snapshot:
        """Wait for a snapshot, and take note of how long its iterations took."""
        snapshot = sent.arrived()
        if self._before is not None:
            count = snapshot.iteration - self._before.snapshot.iteration
            wanted = REPORT_SECONDS * count / max(sent.seconds_since(self._before), 1e-9)
            self.iterations = max(1, int(min(wanted, 2 * self.iterations, REPORT_ITERATIONS)))
        self._before = sent
        return snapshot
