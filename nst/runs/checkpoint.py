"""Checkpoints: a batch in progress, saved so that another process can resume it."""

import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nst.core.engine import Engine, Snapshot
from nst.core.painter import Painter
from nst.io.files import atomic_copy, atomic_write, is_regular, load_json, open_regular, read_json, write_json
from nst.io.segmented_video import segment_fault, segment_path
from nst.io.text import escape_unprintable
from nst.runs.record import Status
from nst.runs.writer import RunWriter, SnapshotWriter, record_failure

log = logging.getLogger(__name__)

BATCHES, STATE, CELLS = ".batches", "state.safetensors", "cells.json"
LAST = "last."  # and a row's number: a tensor that is not the engine's
SHARE = 0.01  # of the time, at most, goes into checkpoints


@dataclass(frozen=True)
class BatchCheckpoint:
    """A batch as it was after `done` evaluations."""

    done: int
    seconds: float  # of painting, so far
    segments: list[list[str]]  # of each row's video, their hashes
    frames: list[list[int]]  # the iterations of each row's frames
    tensors: dict[str, Tensor]  # of the engine
    losses: Tensor  # [done, B, K]
    diverged: dict[int, Tensor]  # the last finite canvas of each row that has diverged
    columns: list[str]  # of the losses

    def select(
        self, rows: Sequence[int], columns: Sequence[str], names: Collection[str]
    ) -> "BatchCheckpoint":
        """The same of some rows alone, with some columns and the tensors of those `names`."""
        kept = [self.columns.index(name) for name in columns]
        return replace(
            self,
            segments=[self.segments[row] for row in rows],
            frames=[self.frames[row] for row in rows],
            # A tensor without dimensions is one for all rows.
            tensors={
                name: part[rows] if part.ndim else part
                for name, part in self.tensors.items()
                if name in names  # what only others needed, such as averages, is left behind
            },
            losses=self.losses[:, rows][:, :, kept],
            diverged={new: self.diverged[row] for new, row in enumerate(rows) if row in self.diverged},
            columns=list(columns),
        )


class CheckpointDirectory:
    """The folder in which a batch is kept while it is painted: its state, and the segments of its videos.

    Args:
        outputs: below which it is.
        identities: of the batch's cells, in order.
    """

    def __init__(self, outputs: Path, identities: Sequence[str]) -> None:
        self.identities = list(identities)
        self.folder = outputs / BATCHES / hashlib.sha256("".join(identities).encode()).hexdigest()[:32]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes out, and leave nothing behind when all went well.

        Where another process is at the same batch, or the folder is a link, this one gets one of its own.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with ExitStack() as stack:
                mine = stack.enter_context(_locked(self.folder))
                if not mine or self.folder.is_symlink():
                    self.folder = self.folder.with_name(f"{self.folder.name}-{uuid4().hex[:8]}")
                    stack.enter_context(_locked(self.folder))
                stack.callback(self._leave)
                self.folder.mkdir(parents=True, exist_ok=True)
                yield
                (self.folder / STATE).unlink(missing_ok=True)
        finally:
            _remove_if_empty(self.folder.parent)

    def _leave(self) -> None:
        """Remove the folder where nothing is kept in it."""
        if not (self.folder / STATE).exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    def clear(self) -> None:
        """Remove what was saved, and start again."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        write_json(self.folder / CELLS, {"identities": self.identities})

    def load(self, painter: Painter) -> BatchCheckpoint | None:
        """The checkpoint; None if there is none, and, with a warning, if it cannot be resumed.

        Args:
            painter: what is to go on, as it is at the start; it is left at the scale of the checkpoint.
        """
        path = self.folder / STATE
        if not os.path.lexists(path):
            self._import_rows(painter.engine)
        if not os.path.lexists(path):
            return None
        try:
            saved = _read(path)
            _require(_is_count(saved.done) and 0 < saved.done < painter.iterations, "done")
            painter.seek(saved.done)
            self._check(saved, painter)
        except Exception as error:  # a damaged file raises whatever its bytes lead to
            said = escape_unprintable(" ".join(str(error).split())) or type(error).__name__
            log.warning("%s: not a checkpoint of this batch (%s); painting it from the start", path, said)
            painter.seek(0)
            return None
        return saved

    def _import_rows(self, engine: Engine) -> None:
        """Take these cells over from a batch that was kept with others, of which some are finished since."""
        kept = {
            folder: _identities(folder) for folder in _folders(self.folder.parent) if folder != self.folder
        }
        for folder, identities in sorted(kept.items(), key=lambda entry: len(entry[1])):
            if not set(self.identities) <= set(identities) or not is_regular(folder / STATE):
                continue
            with _locked(folder) as mine:
                try:
                    if mine:
                        self._copy_rows(folder, [identities.index(cell) for cell in self.identities], engine)
                        return
                except Exception as error:  # as above
                    said = escape_unprintable(" ".join(str(error).split())) or type(error).__name__
                    log.warning("%s: cannot be resumed (%s)", folder / STATE, said)

    def _copy_rows(self, folder: Path, rows: Sequence[int], engine: Engine) -> None:
        """Keep some rows of the batch in `folder` as a batch of their own."""
        self.clear()
        saved = _read(folder / STATE).select(rows, engine.objective.columns, engine.tensors().keys())
        for new, (row, segments) in enumerate(zip(rows, saved.segments, strict=True)):
            for number in range(len(segments)):
                # A segment that is whole is never written again.
                kept = segment_path(folder, str(row), number)
                atomic_copy(kept, segment_path(self.folder, str(new), number), link=True)
        self.save(saved)

    def _cells(self) -> Any:
        try:
            return load_json(self.folder / CELLS).get("identities")
        except (OSError, ValueError):
            return None

    def _check(self, saved: BatchCheckpoint, painter: Painter) -> None:
        """Raise ValueError where going on from `saved` would fail, or paint something else."""
        engine = painter.engine
        wanted, rows = engine.tensors(), len(engine.canvas)
        _require(self._cells() == self.identities, CELLS)
        _require(isinstance(saved.seconds, int | float) and 0 <= saved.seconds < math.inf, "seconds")
        _require(len(saved.segments) == len(saved.frames) == rows, "segments")
        for row, (segments, frames) in enumerate(zip(saved.segments, saved.frames, strict=True)):
            _require(isinstance(segments, list) and bool(segments) == bool(frames), "segments")
            for number, known in enumerate(segments):
                if reason := segment_fault(segment_path(self.folder, str(row), number), known):
                    raise ValueError(reason)
            _require(all(_is_count(frame) and frame < saved.done for frame in frames), "frames")
            _require(frames == sorted(set(frames)), "frames")
        _require(saved.tensors.keys() == wanted.keys(), "tensors")
        for name, tensor in saved.tensors.items():
            like = wanted[name]
            _require(tensor.shape == like.shape and tensor.dtype == like.dtype, name)
        _require(saved.columns == list(engine.objective.columns), "columns")
        losses = (saved.done, rows, len(saved.columns))
        _require(saved.losses.shape == losses and saved.losses.dtype == engine.canvas.dtype, "losses")
        for row, canvas in saved.diverged.items():
            _require(0 <= row < rows and canvas.shape == (3, *painter.shape), f"{LAST}{row}")
            _require(bool(canvas.isfinite().all()), f"{LAST}{row}")
        well = [row for row in range(rows) if row not in saved.diverged and saved.frames[row]]
        for name, tensor in [*saved.tensors.items(), ("losses", saved.losses[:, :, 0].T)]:
            _require(bool((tensor[well] if tensor.ndim else tensor).isfinite().all()), f"NaN in {name}")

    def save(self, saved: BatchCheckpoint) -> None:
        """Save a checkpoint, in place of the one before."""
        known = {name: getattr(saved, name) for name in ("done", "seconds", "segments", "frames", "columns")}
        tensors = {**saved.tensors, "losses": saved.losses}
        tensors |= {f"{LAST}{row}": canvas for row, canvas in saved.diverged.items()}
        tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        with atomic_write(self.folder / STATE) as temporary:
            save_file(tensors, temporary, {"nst": json.dumps(known), "sha256": fingerprint(known, tensors)})


def fingerprint(known: Any, tensors: Mapping[str, Tensor]) -> str:
    """A hash of all that a checkpoint holds."""
    found = hashlib.sha256(json.dumps(known).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def checkpointed_batches(outputs: Path) -> list[list[str]]:
    """The identities of each batch that was begun below `outputs`, and kept."""
    kept = [folder for folder in _folders(outputs / BATCHES) if is_regular(folder / STATE)]
    return [cells for cells in map(_identities, kept) if cells]


def remove_stale_batches(outputs: Path, finished: Collection[str]) -> None:
    """Remove checkpoints below `outputs` that nobody can resume, but for those that another process uses.

    That is what belongs to cells that are all `finished`, and what was left without a checkpoint.
    """
    place = outputs / BATCHES
    with suppress(OSError):  # what cannot be removed does no harm
        for folder in _folders(place):
            with _locked(folder) as mine:
                cells = _identities(folder) if is_regular(folder / STATE) else []
                if mine and folder.is_dir() and set(cells) <= set(finished):
                    shutil.rmtree(folder)
    _remove_if_empty(place)


def _folders(place: Path) -> list[Path]:
    """The folders of batches, those of which only the lock is left included; no links."""
    found = {path.with_suffix("") for path in place.glob("*") if path.is_dir() or path.suffix == ".lock"}
    return sorted(path for path in found if not path.is_symlink())


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Keep other processes out of a batch's folder; False if one is in it."""
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        if not folder.exists():
            with suppress(OSError):
                Path(lock.lock_file).unlink()
        lock.release()


def _remove_if_empty(place: Path) -> None:
    """Remove the folder of batches, and that of outputs, where nothing else is kept."""
    with suppress(OSError):
        place.rmdir()
        place.parent.rmdir()


def _identities(folder: Path) -> list[str]:
    """The identities of the cells of a batch; none if they are not known."""
    cells = read_json(folder / CELLS).get("identities")
    return cells if isinstance(cells, list) and _are_identities(cells) else []


def _read(path: Path) -> BatchCheckpoint:
    """What a checkpoint holds; raises whatever its bytes lead to where it is damaged."""
    open_regular(path).close()
    with safe_open(path, framework="pt") as file:
        known = json.loads(file.metadata()["nst"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _require(file.metadata().get("sha256") == fingerprint(known, tensors), "hash")
    losses = tensors.pop("losses")
    diverged = {int(name[len(LAST) :]): tensors.pop(name) for name in [*tensors] if name.startswith(LAST)}
    names = ("done", "seconds", "segments", "frames", "columns")
    return BatchCheckpoint(
        **{name: known[name] for name in names}, tensors=tensors, losses=losses, diverged=diverged
    )


def _are_identities(cells: list[object]) -> bool:
    return all(isinstance(cell, str) for cell in cells) and len(set(cells)) == len(cells)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _require(right: bool, what: str) -> None:
    if not right:
        raise ValueError(f"wrong {what}")


class CheckpointManager:
    """Keeps a batch now and then, as often as `SHARE` of the time allows.

    Args:
        checkpoints: where to.
        painter, snapshot_writer, writers: of the batch.
        seconds: between two checkpoints, at least.
        saved: what the batch went on from.
    """

    def __init__(
        self,
        checkpoints: CheckpointDirectory,
        painter: Painter,
        snapshot_writer: SnapshotWriter,
        writers: Sequence[RunWriter],
        seconds: float,
        saved: BatchCheckpoint | None,
    ) -> None:
        self._checkpoints, self._painter, self._snapshot_writer = checkpoints, painter, snapshot_writer
        self._writers, self._least = writers, seconds
        self._losses = [saved.losses] if saved else []
        self._before = saved.seconds if saved else 0.0
        self._began = time.monotonic()
        self._next = self._began + seconds

    @property
    def seconds(self) -> float:
        """Of painting, those of the processes before included."""
        return self._before + time.monotonic() - self._began

    def maybe_save(self, snapshot: Snapshot, now: bool = False) -> bool:
        """Note a snapshot that was submitted; keep the batch if it is time, or `now`.

        Returns:
            Whether it was kept; on CUDA a later snapshot may have to be waited for.
        """
        self._losses.append(snapshot.losses)
        due = now or time.monotonic() >= self._next
        self._painter.engine.settles = due
        if not due or self._painter.engine.done != snapshot.iteration + 1:
            return False
        self._keep()
        return True

    def _keep(self) -> None:
        started = time.monotonic()
        self._snapshot_writer.flush()
        for writer in self._writers:
            with record_failure(writer):
                writer.end_segment()
        if any(writer.status is Status.FAILED for writer in self._writers):
            return  # of such a cell frames are missing; an earlier checkpoint may have them
        try:
            segments = [writer.segments for writer in self._writers]
            tensors = {name: tensor.cpu() for name, tensor in self._painter.engine.tensors().items()}
            self._losses = [torch.cat(self._losses)]
            saved = BatchCheckpoint(
                self._painter.engine.done,
                self.seconds,
                segments,
                [writer.frames for writer in self._writers],
                tensors,
                self._losses[0],
                {
                    row: writer.canvas
                    for row, writer in enumerate(self._writers)
                    if writer.status is Status.DIVERGED and writer.frames  # without, no canvas was finite
                },
                list(self._painter.engine.objective.columns),
            )
            self._checkpoints.save(saved)
        except (OSError, SafetensorError) as error:
            log.warning("%s: no checkpoint (%s); painting goes on", self._checkpoints.folder, error)
        now = time.monotonic()
        self._next = now + max(self._least, (now - started) / SHARE)
        self._painter.engine.settles = False
