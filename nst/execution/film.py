"""A film painted frame by frame, each an ordinary cell in `frames/`, and its run directory made of these.

So a film that was interrupted goes on in the frame that it was at, and a frame can be looked at and replayed
as any run.
"""

import csv
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from nst.config.film import all_iterations, film_of, frame_config
from nst.core.resizing import cover
from nst.errors import NstError
from nst.execution.batch import Row, new_record, prepare
from nst.execution.device import most_rows
from nst.execution.output_dir import FRAMES, conflict_in
from nst.execution.plan import plan
from nst.execution.progress import BatchProgress, ProgressCallback
from nst.execution.resolve import read_content
from nst.io.files import atomic_copy, atomic_write, open_text
from nst.io.film import write_gif
from nst.io.fit import Fit
from nst.io.images import image_shape, read, write_png
from nst.io.video import Video, change_rate
from nst.report.build import draw_losses
from nst.runs.checkpoint import remove_stale_batches
from nst.runs.index import RunIndex, link_run
from nst.runs.job import Job, Result
from nst.runs.record import RunRecord
from nst.runs.writer import RunWriter, record_failure

PaintBatch = Callable[[Sequence[Job], ProgressCallback], list[Result]]


def paint_film(job: Job, watch: ProgressCallback, paint: PaintBatch) -> Result:
    """Paint the frames of a film that are not painted yet, and write its run directory.

    Args:
        job: whose content image is a film.
        watch: called now and then with the progress of the whole film.
        paint: paints frames, as the rows of one batch.

    Raises:
        Interrupted: by a signal; frames that were painted are kept.
    """
    row = Row(job, RunWriter(job.folder, new_record(job)))
    total = math.nan
    with record_failure(row.writer):
        row.writer.begin()
        try:
            prepare(row)
            total = _Film(row, watch, paint).paint()
        except BaseException as error:
            if not isinstance(error, Exception):
                row.writer.fail(error)
            raise
    return Result(job.folder, job.name, total, row.writer.error, status=row.writer.status)


class _Film:
    """The frames of one film."""

    def __init__(self, row: Row, watch: ProgressCallback, paint: PaintBatch) -> None:
        film = film_of(row.job.config)
        assert film is not None
        self.row, self.job, self.film, self.watch, self.paint_batch = row, row.job, film, watch, paint
        self.config = row.job.config
        self.folders: list[Path] = []
        self.done, self.total = 0, all_iterations(self.config)

    def paint(self) -> float:
        """Paint all; returns the final total loss of the last frame."""
        warm = self.config.frames.warm
        # Frames that do not wait for one another are the rows of batches.
        at_a_time = 1 if warm else most_rows([self.config])
        index = RunIndex([Path(self.config.outputs), self.job.folder])
        frames = itertools.islice(self.film.frames(), self.config.frames.most)
        while some := list(itertools.islice(frames, at_a_time)):
            pictures = [self._picture(picture, row) for row, picture in enumerate(some, len(self.folders))]
            begin = self._begin(pictures[0]) if warm and self.folders else None
            jobs = [self._frame(picture, begin) for picture in pictures]
            self._paint(jobs, index)
            self.folders += [job.folder for job in jobs]
            for used in filter(None, [*pictures, begin]):
                used.unlink()
        if not self.folders:
            raise NstError(f"images.content={self.config.images.content}: has no frame that can be decoded")
        return self._complete()

    def _picture(self, picture: Image.Image, number: int) -> Path:
        """A frame as a file, for as long as it is painted; its folder keeps one as large as the canvas."""
        path = self.job.folder / FRAMES / f"{number:04}.png"
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as temporary:
            picture.save(temporary, format="PNG", compress_level=1)
        return path

    def _begin(self, picture: Path) -> Path:
        """The picture that a frame begins from: the canvas before it, and what has changed in the film since.

        So what moves has left its place, and what rests stays as it was painted.
        """
        content = read_content(frame_config(self.config, picture, None))
        begin = content.clone()
        for name, sign in (("canvas", 1), ("content", -1)):
            path = self.folders[-1] / f"{name}.png"
            known = read(path, max(image_shape(path, "frames")), "frames", Fit.keep)
            begin += sign * cover(known, (content.shape[1], content.shape[2]))
        path = picture.with_name(f"{picture.stem}-init.png")
        write_png(begin, path)
        return path

    def _frame(self, picture: Path, begin: Path | None) -> Job:
        """The cell of a frame, with its config in its folder, so that it can be replayed."""
        config, folder = frame_config(self.config, picture, begin), picture.with_suffix("")
        job = Job(config, folder, (f"frame {int(folder.name)}",))
        if reason := conflict_in(folder, {Path(): job}):
            raise NstError(f"{folder}: {reason}; give another hydra.run.dir, or hydra.sweep.dir")
        told = self.job.folder / ".hydra/config.yaml"
        if told.is_file():
            composed = OmegaConf.load(told)
            composed.images.content = str(folder / "content.png")
            composed.iterations, composed.scales = config.iterations, asdict(config.scales)
            if begin is not None:
                composed.init_image = {"name": "file", "path": str(folder / "init.png")}
            (folder / ".hydra").mkdir(parents=True, exist_ok=True)
            OmegaConf.save(composed, folder / ".hydra/config.yaml")
            OmegaConf.save([], folder / ".hydra/overrides.yaml")
        return job

    def _paint(self, jobs: Sequence[Job], index: RunIndex) -> None:
        """Paint what of some frames was not painted before; raises NstError where one cannot be."""
        planned = plan(jobs, index=index)
        names = {job.folder: job for job in jobs}
        for folder, source in planned.done.items():
            link_run(source, folder, names[folder].name, self.config.fps)
        for batch in planned.batches:
            for result in self.paint_batch(batch, partial(self._watch, len(batch))):
                if result.error is not None:
                    raise NstError(f"{result.name}: {result.error}")
        for folder, painter in planned.shared.items():
            link_run(painter, folder, names[folder].name, self.config.fps)
        remove_stale_batches(Path(self.config.outputs), set(planned.identities.values()))
        self.done += sum(job.config.iterations for job in jobs)

    def _watch(self, rows: int, progress: BatchProgress) -> None:
        done = min(self.done + rows * progress.iteration, self.total)
        self.watch(BatchProgress(done, self.total, progress.losses, done / self.total, rows / self.total))

    def _complete(self) -> float:
        """Write the run directory of the film: one frame of its video is the canvas of one frame."""
        folder, records = self.job.folder, [RunRecord.read(frame) for frame in self.folders]
        for name in ("canvas.png", "content.png", "style.png"):
            atomic_copy(self.folders[-1] / name, folder / name)
        with Video(folder / "film.mp4", self.film.rate, self._shape()) as video:
            for canvas in self._canvases():
                video.append(np.asarray(canvas))
        atomic_copy(folder / "film.mp4", folder / "canvas.mp4")
        change_rate(folder / "canvas.mp4", self.config.fps)
        if self.film.durations is not None:
            write_gif(folder / "film.gif", self._canvases(), self.film)
        with atomic_write(folder / "losses.csv") as temporary, temporary.open("w") as file:
            file.writelines(self._losses())
        draw_losses(folder)
        self.row.writer.complete(
            records[-1].final,
            frames=list(range(len(records))),
            device=records[-1].device,
            timings=_sums([record.timings for record in records]),
            scores=_means([record.scores or {} for record in records]),
        )
        return records[-1].total

    def _shape(self) -> tuple[int, int]:
        with Image.open(self.folders[0] / "canvas.png") as canvas:
            return canvas.height, canvas.width

    def _canvases(self) -> Iterator[Image.Image]:
        for folder in self.folders:
            with Image.open(folder / "canvas.png") as canvas:
                yield canvas.convert("RGB")

    def _losses(self) -> Iterator[str]:
        """The lines of losses.csv: the last losses of each frame, by its number."""
        for number, folder in enumerate(self.folders):
            with open_text(folder / "losses.csv") as file:
                rows = list(csv.reader(file))
            if number == 0:
                yield ",".join(rows[0]) + "\n"
            yield ",".join([str(number), *rows[-1][1:]]) + "\n"


def _sums(timings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = [name for name in timings[0] if "seconds" in name]
    return {"batch_cells": 1, **{name: sum(timing.get(name, 0) for timing in timings) for name in names}}


def _means(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {
        name: mean(score[name] for score in scores) for name in scores[0] if all(name in s for s in scores)
    }
