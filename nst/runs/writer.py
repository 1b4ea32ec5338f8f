"""A run directory, written while its canvas is painted and off the thread that paints it."""

import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nst.core.cell import Cell
from nst.core.engine import Snapshot
from nst.core.resizing import enlarge
from nst.errors import NstError
from nst.io import timeouts
from nst.io.canvas_files import on_white, write_canvas
from nst.io.canvas_format import CanvasFormat
from nst.io.files import atomic_write, discard_temporaries, format_error
from nst.io.images import side_by_side, to_uint8, write_png
from nst.io.segmented_video import SegmentedVideo
from nst.runs.painting import Painting
from nst.runs.record import OUTPUT_FILES, RunRecord, Status, describe_files, now

WAITING = 8  # snapshots in memory before painting waits for the disk
# Threads that write, each some of the rows: a GPU paints faster than one hands frames to encoders.
MOST_THREADS = 8
SECONDS_TO_SHOW = 10.0  # between what is left for those who watch
PATIENCE = 5  # times as long as is waited for an encoder, which is one of the things the thread may wait for


class Diverged(NstError):  # noqa: N818 - a state of the cell
    """A loss or a canvas is not finite any more, from `iteration` on."""

    def __init__(self, iteration: int, lr: float | None) -> None:
        super().__init__(
            f"optimizer.lr={lr}: the loss is not a finite number from iteration {iteration} on; "
            "give a smaller learning rate, or smaller weights"
        )
        self.iteration = iteration


class Stuck(NstError):  # noqa: N818 - a state of the disk
    """Nothing can be written any more: the thread that should has waited too long."""


class RunWriter:
    """The files of one run: frames and losses as they come, the rest at the end.

    `run.json` says `running` from the start; its final status is written last, after all other files.

    Attributes:
        error: why it ended before it was finished; None while all is well.
        canvas: the latest, `[3, H, W]`, in the colours that it is shown in.
    """

    def __init__(
        self, folder: Path, record: RunRecord, canvas_format: CanvasFormat = CanvasFormat.png
    ) -> None:
        self.folder, self.record, self._format = folder, record, canvas_format
        self._alpha: Tensor | None = None
        self.frames: list[int] = []
        self.error: str | None = None
        self._open = ExitStack()
        self._iterations, self._shown = 0, time.monotonic()

    @property
    def status(self) -> Status:
        """As in `run.json`."""
        return self.record.status

    def begin(self) -> None:
        """Make the folder, or clear it of what an earlier attempt has written in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        attempted = not RunRecord.read(self.folder, lenient=True).blank
        self._update(status=Status.RUNNING, error=None, started=now(), ended=None)
        if attempted:
            discard_temporaries(self.folder, (*OUTPUT_FILES, RunRecord.NAME))
            for name in OUTPUT_FILES:
                (self.folder / name).unlink(missing_ok=True)

    def keep(self, name: str, image: Tensor) -> None:
        """Write one of the images that were used, `[3, H, W]`."""
        write_png(image, self.folder / name)

    def start(
        self,
        cell: Cell,
        columns: Sequence[str],
        video: SegmentedVideo,
        alpha: Tensor | None = None,
        iterations: int = 0,
    ) -> None:
        """Write the images, and open the files that grow while painting.

        Args:
            cell: what is painted.
            columns: names of the columns of the losses to come, among them all of this cell's.
            video: where its frames go.
            alpha: `[1, H, W]`, the opacity that the canvas is given; its frames are laid on white.
            iterations: in all, for those who watch; where it is 0, nothing is left for them.
        """
        self._iterations, self._shown = iterations, time.monotonic()
        write_png(cell.content, self.folder / "content.png")
        write_png(side_by_side(cell.styles), self.folder / "style.png")
        self._cell, self._alpha = cell, alpha
        self._columns = [list(columns).index(name) for name in cell.columns()]
        self._names = cell.columns()
        self._video = video
        self._open.callback(video.discard)
        table = self._open.enter_context(atomic_write(self.folder / "losses.csv"))
        self._table_name = table.name
        self._table = self._open.enter_context(table.open("w"))
        self._table.write(",".join(["iteration", *self._names]) + "\n")

    def resume(self, losses: Tensor, frames: Sequence[int], canvas: Tensor | None) -> None:
        """Take over what an earlier process, which is gone, recorded of this run.

        Args:
            losses: `[n, K]`, of the iterations from 0 on.
            frames: the iterations of the frames on the video.
            canvas: `[3, H, W]`, its last finite one as it is shown, if it diverged.

        Raises:
            Diverged: that is so.
        """
        if canvas is not None:
            self.canvas = canvas
        self.frames += frames
        self._write_losses(0, losses)

    def add(self, iteration: int, canvas: Tensor | None, losses: Tensor) -> None:
        """Take in a snapshot of this cell: losses `[n, K]`, and at a frame the canvas `[3, H, W]` as painted.

        The canvas of a smaller scale is enlarged: a video has one size.

        Raises:
            Diverged: the loss or the canvas is not finite any more.
            NstError, OSError: the disk takes no more.
        """
        self._write_losses(iteration + 1 - len(losses), losses)
        if canvas is None:
            return
        if not np.isfinite(canvas.numpy()).all():
            raise Diverged(iteration, self.record.lr)
        content = self._cell.content
        if canvas.shape != content.shape:  # as the next scale gets it; nearest would show uneven pixels
            canvas = enlarge(canvas[None], content.shape[1:])[0]
        shown = self._cell.color.decode(canvas, content)
        frame = on_white(shown, self._alpha)
        self._video.append(to_uint8(frame))
        self.frames.append(iteration)
        self.canvas = shown
        if self._iterations and time.monotonic() - self._shown >= SECONDS_TO_SHOW:
            with suppress(OSError):  # it is no part of the result; what is, tells of a full disk
                self._show(iteration, frame)

    def _show(self, iteration: int, frame: Tensor) -> None:
        """Leave what there is so far for those who watch."""
        self._table.flush()
        write_png(frame, self.folder / Painting.PICTURE)
        Painting(
            started=self.record.started,
            at=now(),
            iteration=iteration,
            iterations=self._iterations,
            table=self._table_name,
            losses=dict(zip(self._names[:4], self._losses, strict=False)),
        ).write(self.folder)
        self._shown = time.monotonic()

    def end_segment(self) -> None:
        """See to it that the frames so far are on disk."""
        self._video.end_segment()

    @property
    def segments(self) -> list[str]:
        """The hashes of the segments on disk."""
        return self._video.segments

    def _write_losses(self, first: int, losses: Tensor) -> None:
        mine = losses[:, self._columns]
        finite = int(mine[:, 0].isfinite().long().cumprod(0).sum())
        # 17 significant digits hold a float64, 9 a float32.
        digits = 17 if mine.dtype == torch.float64 else 9
        line = ",".join(["%d", *[f"%.{digits}g"] * len(self._columns)]) + "\n"
        rows = enumerate(mine[:finite].tolist(), first)
        self._table.write("".join(line % (row, *values) for row, values in rows))
        if finite < len(mine):
            raise Diverged(first + finite, self.record.lr)
        self._losses = mine[-1].tolist()

    def finish(self, **record: Any) -> float:
        """Say in `run.json` that all its files are there; returns the final total loss.

        Args:
            record: what else `run.json` is to say.
        """
        self.complete(dict(zip(self._names[:4], self._losses, strict=False)), **record)
        return float(self._losses[0])

    def complete(self, final: Mapping[str, float], **record: Any) -> None:
        """Say in `run.json` that all its files are there.

        Args:
            final: its last losses.
            record: what else `run.json` is to say.
        """
        files = describe_files(self.folder)
        self._update(status=Status.FINISHED, ended=now(), final=final, files=files, **record)
        self._hide()

    def fail(self, error: BaseException) -> None:
        """Keep what was painted so far, and say in `run.json` what happened. Raises nothing."""
        self.error = format_error(error, self.folder)
        status: dict[str, Any] = {"status": Status.FAILED}
        if isinstance(error, Diverged):
            status = {"status": Status.DIVERGED, "diverged_at": error.iteration}
        elif not isinstance(error, Exception):  # a signal's, ours or a library's
            status = {"status": Status.INTERRUPTED}
        elif not isinstance(error, NstError | OSError):
            status["traceback"] = traceback.format_exception(error)
        # What failed may be the disk; then `run.json` still says that it was running, and nobody takes
        # it for more.
        if not isinstance(error, Stuck):  # else this would wait for the same
            with suppress(Exception):
                self.close_files()
        with suppress(Exception):
            self._update(**status, error=self.error, ended=now())
        self._hide()

    def _hide(self) -> None:
        """Remove what was left for those who watch."""
        with suppress(OSError):
            Painting.remove(self.folder)

    def close_files(self) -> None:
        """Complete the files of what was painted, each whatever becomes of the others.

        Raises:
            Exception: the first that one of them met with.
        """
        errors = []
        for part in (self._keep_canvas, self._keep_video, self._open.close):
            try:
                part()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _keep_canvas(self) -> None:
        if self.frames:
            for wanted in {CanvasFormat.png: None, self._format: None}:
                write_canvas(self.canvas, self.folder, wanted, self._alpha)

    def _keep_video(self) -> None:
        if self.frames:
            self._video.finish(self.folder / "canvas.mp4", len(self.frames))
            self.record = replace(self.record, frames=list(self.frames))

    def _update(self, **record: Any) -> None:
        self.record = replace(self.record, **record)
        self.record.write(self.folder)


class SnapshotWriter:
    """Hands snapshots to the writers on threads of its own, a bounded number at a time.

    A writer that fails is closed as failed, and the others go on. What a thread itself trips over, and
    that none gets anything done any more, is raised in the thread that hands over.
    """

    def __init__(self, writers: Sequence[RunWriter]) -> None:
        self.writers = writers
        self._changed = threading.Condition()
        threads = max(1, min(len(writers), MOST_THREADS, (os.cpu_count() or 1) // 2))
        self._todo = [deque[Snapshot]() for _ in range(threads)]  # the first of each is being written
        self._at = dict[int, RunWriter]()  # whose turn it is, by thread
        self._steps = 0
        self._over = False
        self._error: BaseException | None = None
        # Daemons, because a process has to end even while a disk keeps them waiting.
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"writer-{number}", daemon=True)
            for number in range(threads)
        ]

    def resume(self, losses: Tensor, frames: Sequence[Sequence[int]], diverged: Mapping[int, Tensor]) -> None:
        """Give each writer what an earlier process recorded.

        Args:
            losses: `[n, B, K]`.
            frames: the iterations of each writer's frames.
            diverged: the last finite canvas of each writer that has diverged.
        """
        for row, writer in enumerate(self.writers):
            if writer.error is None:
                with record_failure(writer):
                    writer.resume(losses[:, row], frames[row], diverged.get(row))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Everything handed over inside is written when this is left; raises as `submit` does."""
        for thread in self._threads:
            thread.start()
        try:
            yield
            self.flush()
        except BaseException:
            with suppress(Exception):
                self.flush()
            raise
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def submit(self, snapshot: Snapshot) -> bool:
        """Queue a snapshot; False when no writer is left that could use it.

        Raises:
            Stuck: nothing is written any more.
            BaseException: what ended the thread that writes.
        """
        with self._changed:
            self._wait(lambda: max(map(len, self._todo)) < WAITING)
            for todo in self._todo:
                todo.append(snapshot)
            self._changed.notify_all()
        return any(writer.error is None for writer in self.writers)

    def flush(self) -> None:
        """Return when everything handed over is written; raises as `submit` does."""
        with self._changed:
            self._wait(lambda: not any(self._todo))

    def _wait(self, until: Callable[[], bool]) -> None:
        """Wait for the threads to come so far, with `_changed` held, as long as one gets anything done."""
        steps = -1

        def happened() -> bool:
            return until() or self._error is not None or self._steps > steps

        while not until() and self._error is None:
            steps = self._steps
            if not timeouts.wait_until(lambda seconds: self._changed.wait_for(happened, seconds), PATIENCE):
                folder = next(iter(self._at.values()), self.writers[0]).folder
                self._error = Stuck(
                    f"{folder}: nothing could be written for {PATIENCE * timeouts.SECONDS} s; see that its "
                    "disk answers, then run the same command again"
                )
        if self._error is not None:
            raise self._error

    def _work(self, thread: int) -> None:
        try:
            while (snapshot := self._next(thread)) is not None:
                canvases, losses = snapshot.canvas, snapshot.losses
                for row in range(thread, len(self.writers), len(self._threads)):
                    writer = self.writers[row]
                    if self._begins(thread, writer):
                        canvas = None if canvases is None else canvases[row]
                        with record_failure(writer):
                            writer.add(snapshot.iteration, canvas, losses[:, row])
                with self._changed:
                    self._todo[thread].popleft()
                    self._at.pop(thread, None)
                    self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self, thread: int) -> Snapshot | None:
        """The next snapshot of a thread, when there is one; None at the end."""
        todo = self._todo[thread]
        with self._changed:
            self._changed.wait_for(lambda: todo or self._over)
            return todo[0] if todo and not self._over else None

    def _begins(self, thread: int, writer: RunWriter) -> bool:
        """Note whose turn it is; whether there is anything to do."""
        with self._changed:
            self._at[thread] = writer
            self._steps += 1
            return writer.error is None and self._error is None


@contextmanager
def record_failure(writer: RunWriter) -> Iterator[None]:
    """Whatever goes wrong inside is this cell's, and closes it as failed."""
    try:
        yield
    except Exception as error:
        writer.fail(error)
