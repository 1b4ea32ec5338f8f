"""What MLflow shows of a run directory: tags, params, metrics, canvas steps, a table of cells.

Read from the files of a run alone, and in plain values: no MLflow in here.
"""

import csv
import getpass
import math
import os
import re
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image, ImageOps

from nst.config.schema import register_resolvers
from nst.errors import NstError
from nst.io.color import SRGB, laid_on_white
from nst.io.files import atomic_copy, is_regular, open_regular, open_text
from nst.io.text import as_number, as_written, escape_unprintable
from nst.io.video import decode
from nst.io.yaml_files import parse_yaml
from nst.runs.description import Description
from nst.runs.painting import Painting
from nst.runs.reader import BESIDE, SAID, Run, flatten, read_run
from nst.runs.record import RunRecord, SweepRecord

LOSSES = ("total", "content", "style", "tv")
CURVE_POINTS = 250  # of each loss curve, at most: what the default preset has frames
MOST_POINTS = 900  # of all curves of a run: what, with its params, MLflow takes in one request
THUMBNAIL = (256, 256)
WRITERS = min(os.cpu_count() or 1, 8)  # threads that compress canvases: Pillow lets others go on meanwhile
HOW = (*SAID, "outputs", "resume", "plan", "hardware.max_batch", "hardware.checkpoint")
# What a canvas cannot be understood without, beside what its sweep varies.
TELLING = ("optimizer.name", "init_image.name", "content_layers", "size", "iterations")
WIDTH = 16  # letters that MLflow's list has room for
LONGEST_TAG = 250  # of a key


@dataclass(frozen=True)
class Point:
    """One value of a metric; `millis` since the epoch."""

    key: str
    value: float
    millis: int
    step: int


def check_names(names: Collection[str]) -> None:
    """Refuse names of which one is the folder of another: a store of files can have only one of the two.

    Raises:
        NstError: there is such a pair.
    """
    for name in names:
        for folder in PurePosixPath(name).parents:
            if str(folder) in names:
                raise NstError(
                    f"{folder}: the name of a value, and of the folder of {name}; rename one of them"
                )


def millis(moment: str) -> int:
    """An ISO 8601 moment in milliseconds since the epoch."""
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def last_sign(*folders: Path) -> int:
    """When a sweep or a run last wrote of itself in some folders, in ms since the epoch; else 0."""
    names = (SweepRecord.NAME, RunRecord.NAME, Painting.NAME)
    paths = [folder / name for folder in folders for name in names]
    return round(max((path.stat().st_mtime for path in paths if path.is_file()), default=0.0) * 1000)


@dataclass(frozen=True)
class RunView:
    """A run directory and its record, as MLflow is to show them."""

    folder: Path
    record: RunRecord

    @classmethod
    def read(cls, folder: Path) -> "RunView":
        """Raises `NstError` when the folder holds no run.json."""
        return cls(folder, RunRecord.load(folder))

    @property
    def status(self) -> str:
        """MLflow's word for it."""
        return self.record.status.mlflow

    @property
    def started(self) -> int:
        """When it began, in ms since the epoch."""
        return millis(self.record.started)

    @property
    def ended(self) -> int:
        """When it ended, in ms since the epoch; if killed, when it last gave a sign of life."""
        if self.record.ended:
            return millis(self.record.ended)
        return last_sign(self.folder)

    @cached_property
    def run(self) -> Run:
        """The same, read for its overrides."""
        return read_run(self.folder)

    @cached_property
    def said(self) -> Description:
        """What a person says of it."""
        return Description.of([self.run])

    @cached_property
    def telling(self) -> dict[str, str]:
        """The overrides that set it apart: from the other cells of its sweep, or from the defaults."""
        named = f" {self.record.name} "
        typed = [item for item in self.run.typed if f" {escape_unprintable(item)} " in named]
        pairs = [item.lstrip("+~").partition("=") for item in typed]
        return {key: value for key, equals, value in pairs if equals and not key.startswith(BESIDE)}

    @property
    def short(self) -> str:
        """What sets it apart, short enough for a list: "lbfgs, conv5_1", "lr 0.1, seed 2"."""
        words = [_short(key, value) for key, value in self.telling.items()]
        if len(", ".join(words)) > WIDTH:  # what a list cuts off is then the longest
            words.sort(key=len)
        return escape_unprintable(", ".join(words)) or self.record.name or self.folder.name

    @property
    def in_sweep(self) -> bool:
        """Whether it is a cell of a sweep."""
        return (self.folder.parent / SweepRecord.NAME).is_file()

    @property
    def name(self) -> str:
        """What its MLflow run is called: what a person said, if that is not said of a whole sweep."""
        return self.short if self.in_sweep or not self.said.name else self.said.name

    def tags(self) -> dict[str, str]:
        """What identifies the run, what a person said of it, what it ran on, as far as known."""
        keys = ("started", "identity", "device", "precision", "error", "taken_from")
        tags = {f"nst.{key}": getattr(self.record, key) for key in keys}
        tags |= tags_of(self.folder, self.said, self.record.git)
        for key, value in self.record.model.to_json().items():
            tags["nst.model" if key == "name" else f"nst.model.{key}"] = value
        versions = self.record.versions.items()
        tags["nst.versions"] = ", ".join(f"{name} {version}" for name, version in versions)
        tags |= {f"nst.timings.{key}": f"{value:.5g}" for key, value in self.record.timings.items()}
        tags["mlflow.loggedImages"] = "True" if self.record.frames else None
        return {key: str(value) for key, value in tags.items() if value}

    @cached_property
    def settings(self) -> dict[str, str]:
        """The resolved config, flat: `weights.tv` -> "1.2", `content_layers` -> "conv1_1".

        What would not be seen is escaped: a store of files could not read a line break back.
        """
        register_resolvers()  # they are in the config
        with open_text(self.folder / ".hydra/config.yaml") as file:
            config = OmegaConf.create(parse_yaml(file))
        try:
            tree = OmegaConf.to_container(config, resolve=True)
        except OmegaConfBaseException:
            # `${hydra:…}` means nothing once the run is over: shown as it was written.
            tree = OmegaConf.to_container(config)
        return {
            escape_unprintable(key): escape_unprintable(value)
            for key, value in flatten(tree)
            if not key.startswith("tracking.") and key not in HOW
        }

    def params(self) -> dict[str, str]:
        """Those of its settings that set it apart, and a few that say what it is.

        MLflow writes all params of a run above each of its canvases, so the others are elsewhere.
        """
        chosen = {key: value for key, value in self.settings.items() if key in TELLING}
        for key, value in self.telling.items():
            inside = self._inside(key)
            name = f"{key}.name"  # of an option, which stands for its settings
            chosen |= {name: inside[name]} if name in inside else inside or {key: escape_unprintable(value)}
        return {escape_unprintable(key): value for key, value in chosen.items()}

    def rest(self) -> dict[str, str]:
        """Its other settings, as tags `config.KEY`; of a cell those that its sweep's run does not have."""
        known, every = self.params(), self.settings
        if self.in_sweep:
            every = {name: text for key in self.telling for name, text in self._inside(key).items()}
        return {_tag(f"config.{key}"): value for key, value in every.items() if key not in known}

    def _inside(self, key: str) -> dict[str, str]:
        """The settings that an override may have changed."""
        return {name: text for name, text in self.settings.items() if f"{name}.".startswith(f"{key}.")}

    @cached_property
    def painting(self) -> Painting | None:
        """How far it is, while it is painted."""
        return Painting.of(self.folder, self.record)

    def points(self, after: int = -1) -> list[Point]:
        """The loss curves behind an iteration, and the scores.

        A curve has at most `CURVE_POINTS` points, and all together at most `MOST_POINTS`, evenly spread over
        the iterations, the first and the last among them. While it is painted, they are those that it will
        have.
        """
        now, points = self.painting, []
        path = self.folder / (now.table if now else "losses.csv")
        if os.path.lexists(path):
            with open_text(path) as file:
                rows = list(csv.DictReader(file))
            rows = rows[: now.iteration + 1] if now else rows  # what is behind them may be half a line
            iterations = now.iterations if now else len(rows)
            count = min(CURVE_POINTS, MOST_POINTS // max(len(rows[0]) - 1, 1)) if rows else 0
            shown = np.linspace(0, iterations - 1, min(count, iterations)).round().astype(int)
            for row in (rows[index] for index in shown if after < index < len(rows)):
                step = int(row.pop("iteration"))
                moment = self._moment(step, len(rows))
                points += [Point(curve_name(key), float(value), moment, step) for key, value in row.items()]
        scores = self.record.scores.items()
        return points + [Point(f"scores/{key}", float(value), self.ended, 0) for key, value in scores]

    def write_painting(self, stage: Path, steps: int, there: Collection[int]) -> list[int]:
        """Write the canvas so far into `stage`, and for the step slider if that has none near it.

        Returns the iterations of the canvases on the slider, then: those that are `there`, and it.
        """
        now = self.painting
        path = self.folder / Painting.PICTURE
        if now is None or not is_regular(path):
            return list(there)
        atomic_copy(path, stage / "canvas.png")
        place = _places(now.iterations, steps)
        if place(now.iteration) in map(place, there):
            return list(there)
        with open_regular(stage / "canvas.png") as file, Image.open(file) as canvas:
            _write_step(stage, now.iteration, millis(now.at), canvas)
        return [*there, now.iteration]

    def write_canvas_steps(self, stage: Path, steps: int, there: Collection[int] = ()) -> None:
        """Write evenly spread frames of canvas.mp4 into `stage` for MLflow's step slider.

        The first frame is always there, and the last one is canvas.png itself; where one near it is
        `there` already, another one is left out. Raises `NstError` when the video has not the frames
        that run.json names.
        """
        frames = self.record.frames
        if not frames:
            return
        count = min(max(steps, 2), len(frames))
        wanted = set(np.linspace(0, len(frames) - 1, count).round().astype(int).tolist())
        place = _places(frames[-1] + 1, steps)
        known = set(map(place, there))
        wanted -= {index for index in wanted if index and place(frames[index]) in known}
        path = self.folder / "canvas.mp4"
        found = 0
        with (
            open_regular(self.folder / "canvas.png") as file,
            Image.open(file) as canvas,
            ThreadPoolExecutor(WRITERS) as threads,
            closing(decode(path)) as video,
        ):
            width, height = canvas.size
            written = deque[Future[None]]()
            for index, pixels in enumerate(video):
                found += 1
                if index in wanted and index < len(frames) - 1:
                    # A video's sides are even: beside an odd canvas it has a row and a column more.
                    image = Image.fromarray(pixels[:height, :width])
                    moment = self._moment(frames[index], frames[-1] + 1)
                    if len(written) == WRITERS:
                        written.popleft().result()
                    written.append(threads.submit(_write_step, stage, frames[index], moment, image))
            _write_step(stage, frames[-1], self.ended, laid_on_white(canvas))
            for step in written:
                step.result()
        if found != len(frames):
            raise NstError(f"{path}: {found} frames, where run.json names {len(frames)}; paint the run again")

    def _moment(self, iteration: int, iterations: int) -> int:
        """When an iteration was done, in ms, as if all had taken equally long."""
        ended = millis(self.painting.at) if self.painting else self.ended
        return self.started + (ended - self.started) * (iteration + 1) // iterations


def _places(iterations: int, steps: int) -> Callable[[int], int]:
    """In which of so many equal parts of the painting an iteration is."""
    return lambda iteration: iteration * max(steps, 2) // iterations


def table(views: list[RunView]) -> dict[str, Any]:
    """The cells of a sweep as MLflow stores a table: what varies among them, and what came out."""
    params = [view.settings for view in views]
    every = dict.fromkeys(key for cell in params for key in cell)
    varying = [key for key in every if len({cell.get(key) for cell in params}) > 1]
    records = [view.record for view in views]
    scores = dict.fromkeys(key for record in records for key in record.scores)
    timings = dict.fromkeys(key for record in records for key in record.timings)
    taken = ["taken_from"] if any(record.taken_from for record in records) else []
    data = []
    for view, cell, record in zip(views, params, records, strict=True):
        row: list[Any] = [view.short, record.status, *(cell.get(key) for key in varying)]
        for values, keys in ((record.final, LOSSES), (record.scores, scores), (record.timings, timings)):
            row += [values.get(key) for key in keys]
        data.append(row + [record.taken_from and str(record.taken_from) for _ in taken])
    columns = ["name", "status", *varying, *LOSSES, *scores, *timings, *taken]
    # MLflow's page takes a column named a.b for b inside a, and shows nothing.
    return {"columns": [name.replace(".", "/") for name in columns], "data": data}


def shared(views: list[RunView]) -> dict[str, str]:
    """The settings that all of some runs have in common."""
    settings = [view.settings for view in views]
    first = settings[0] if settings else {}
    return {key: value for key, value in first.items() if all(cell.get(key) == value for cell in settings)}


def best(views: list[RunView]) -> RunView | None:
    """The run with the smallest product of its scores, each of which is the better the smaller."""
    scored = [view for view in views if view.record.finished and view.record.scores]
    return min(scored, key=lambda view: math.prod(view.record.scores.values()), default=None)


def tags_of(folder: Path, said: Description, git: str | None = None) -> dict[str, Any]:
    """Tags that runs and sweeps both have: who made it, and what a person said of it.

    Each of the tags that were given is one of MLflow's, so that it is seen and can be searched for.
    """
    tags = {_tag(tag): "true" for tag in said.tags}
    return {key: value for key, value in tags.items() if not key.startswith(("mlflow.", "nst."))} | {
        "nst.run_dir": str(folder),
        "nst.tags": ", ".join(said.tags),
        "mlflow.source.name": "run.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git,
        "mlflow.user": _owner(folder),
    }


def _tag(text: str) -> str:
    """A text as the key of a tag, in letters that MLflow takes; a / would make it a folder."""
    return re.sub(r"[^\w .:-]", "_", text, flags=re.ASCII)[:LONGEST_TAG]


def _owner(folder: Path) -> str | None:
    """Whose folder it is; if that has no name, who we are."""
    for ask in (folder.owner, getpass.getuser):
        try:
            return ask()
        except (KeyError, OSError, ImportError, NotImplementedError):
            continue
    return None


def _short(key: str, value: str) -> str:
    """An override as a word or two: its value, of a path the end; a number with the end of its key."""
    parts = [part.strip(" '\"") for part in value.strip("[] ").split(",")]
    if key.startswith(("images.", "model.weights")):
        parts = [PurePosixPath(part).stem for part in parts]
    text = " ".join(" ".join(parts).split())
    if as_number(text) is None and text.lower() not in ("true", "false", "null", "none", ""):
        return text
    return f"{key.rpartition('.')[2].replace('_', ' ')} {as_written(text)}"


def curve_name(column: str) -> str:
    """The metric of a column of losses.csv: `loss/total`, `terms/style`, `terms_style/conv1_1`.

    MLflow sorts by name: the total comes first, then the scores, the terms, and each term's layers.
    """
    if column == "total":
        return "loss/total"
    return f"terms_{column}" if "/" in column else f"terms/{column}"


def _write_step(stage: Path, step: int, moment: int, image: Image.Image) -> None:
    """Write an image and its thumbnail into `stage` under the names `MlflowClient.log_image` gives.

    `log_image` itself makes three requests an image, one after the other; a folder sent as a whole
    takes two, and the names are the same when it is sent again.
    """
    (stage / "images").mkdir(exist_ok=True)
    name = f"canvas+step+{step}+timestamp+{moment}+nst"
    # In half the time of the defaults, and no larger: there is a step for each of many moments.
    image.save(stage / "images" / f"{name}.png", pnginfo=SRGB, compress_level=1)
    thumbnail = ImageOps.contain(image, THUMBNAIL)
    thumbnail.save(stage / "images" / f"{name}+compressed.webp", method=2)
