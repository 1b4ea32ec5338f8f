"""What MLflow shows of a run directory: tags, params, metrics, canvas steps, a table of cells.

Read from the files of a run alone, and in plain values: no MLflow in here.
"""

import csv
import os
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image, ImageOps

from nst.errors import NstError
from nst.io.color import SRGB
from nst.io.files import open_regular, open_text
from nst.io.text import escape_unprintable
from nst.io.video import decode
from nst.runs.reader import SAID, flatten
from nst.runs.record import RunRecord

LOSSES = ("total", "content", "style", "tv")
CURVE_POINTS = 250  # of each loss curve, at most: what the default preset has frames
THUMBNAIL = (256, 256)
HOW = (*SAID, "outputs", "resume", "plan", "hardware.max_batch", "hardware.checkpoint")


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
        return round((self.folder / RunRecord.NAME).stat().st_mtime * 1000)

    @property
    def name(self) -> str:
        """What its overrides say; without any, its folder."""
        return self.record.name or self.folder.name

    def tags(self) -> dict[str, str]:
        """What identifies the run and what it ran on, as far as known."""
        keys = ("started", "identity", "device", "precision", "git", "error", "taken_from")
        tags = {f"nst.{key}": getattr(self.record, key) for key in keys}
        tags["nst.run_dir"] = str(self.folder)
        for key, value in self.record.model.to_json().items():
            tags["nst.model" if key == "name" else f"nst.model.{key}"] = value
        versions = self.record.versions.items()
        tags["nst.versions"] = ", ".join(f"{name} {version}" for name, version in versions)
        tags["mlflow.loggedImages"] = "True" if self.record.frames else None
        return {key: str(value) for key, value in tags.items() if value}

    def params(self) -> dict[str, str]:
        """The resolved config, flat: `weights.tv` -> "1.2", `content_layers` -> "conv1_1".

        What would not be seen is escaped: a store of files could not read a line break back.
        """
        from nst.config.schema import register  # which imports torch

        register()  # its resolvers are in the config
        with open_text(self.folder / ".hydra/config.yaml") as file:
            config = OmegaConf.load(file)
        try:
            tree = OmegaConf.to_container(config, resolve=True)
        except OmegaConfBaseException:
            # `${hydra:…}` means nothing once the run is over: shown as it was written.
            tree = OmegaConf.to_container(config)
        # MLflow writes all of them above each canvas: what only says where to and how is no part of it.
        return {
            escape_unprintable(key): escape_unprintable(value)
            for key, value in flatten(tree)
            if not key.startswith("tracking.") and key not in HOW
        }

    def points(self) -> list[Point]:
        """The loss curves, timings and scores.

        A curve has at most `CURVE_POINTS` points, evenly spread over the rows of losses.csv, the first and
        the last among them.
        """
        points = []
        if os.path.lexists(self.folder / "losses.csv"):
            with open_text(self.folder / "losses.csv") as file:
                rows = list(csv.DictReader(file))
            shown = np.linspace(0, len(rows) - 1, min(CURVE_POINTS, len(rows))).round().astype(int)
            for row in (rows[index] for index in shown):
                step = int(row.pop("iteration"))
                moment = self._moment(step, len(rows))
                points += [Point(_curve(key), float(value), moment, step) for key, value in row.items()]
        for group, values in (("timings", self.record.timings), ("scores", self.record.scores)):
            points += [Point(f"{group}/{key}", float(value), self.ended, 0) for key, value in values.items()]
        return points

    def write_canvas_steps(self, stage: Path, steps: int) -> None:
        """Write evenly spread frames of canvas.mp4 into `stage` for MLflow's step slider.

        The first frame is always there, and the last one is canvas.png itself. Raises `NstError`
        when the video has not the frames that run.json names.
        """
        frames = self.record.frames
        if not frames:
            return
        count = min(max(steps, 2), len(frames))
        wanted = set(np.linspace(0, len(frames) - 1, count).round().astype(int).tolist())
        path = self.folder / "canvas.mp4"
        found = 0
        with (
            open_regular(self.folder / "canvas.png") as file,
            Image.open(file) as canvas,
            closing(decode(path)) as video,
        ):
            width, height = canvas.size
            for index, pixels in enumerate(video):
                found += 1
                if index in wanted and index < len(frames) - 1:
                    # A video's sides are even: beside an odd canvas it has a row and a column more.
                    image = Image.fromarray(pixels[:height, :width])
                    moment = self._moment(frames[index], frames[-1] + 1)
                    _write_step(stage, frames[index], moment, image)
            _write_step(stage, frames[-1], self.ended, canvas)
        if found != len(frames):
            raise NstError(f"{path}: {found} frames, where run.json names {len(frames)}; paint the run again")

    def _moment(self, iteration: int, iterations: int) -> int:
        """When an iteration was done, in ms, as if all had taken equally long."""
        return self.started + (self.ended - self.started) * (iteration + 1) // iterations


def table(views: list[RunView]) -> dict[str, Any]:
    """The cells of a sweep as MLflow stores a table: what varies among them, and what came out."""
    params = [view.params() for view in views]
    every = dict.fromkeys(key for cell in params for key in cell)
    varying = [key for key in every if len({cell.get(key) for cell in params}) > 1]
    records = [view.record for view in views]
    scores = dict.fromkeys(key for record in records for key in record.scores)
    timings = dict.fromkeys(key for record in records for key in record.timings)
    taken = ["taken_from"] if any(record.taken_from for record in records) else []
    data = []
    for view, cell, record in zip(views, params, records, strict=True):
        row: list[Any] = [view.name, record.status, *(cell.get(key) for key in varying)]
        for values, keys in ((record.final, LOSSES), (record.scores, scores), (record.timings, timings)):
            row += [values.get(key) for key in keys]
        data.append(row + [record.taken_from and str(record.taken_from) for _ in taken])
    columns = ["name", "status", *varying, *LOSSES, *scores, *timings, *taken]
    # MLflow's page takes a column named a.b for b inside a, and shows nothing.
    return {"columns": [name.replace(".", "/") for name in columns], "data": data}


def _curve(column: str) -> str:
    """The metric of a column of losses.csv: `loss/total`, `loss/content`, but `content/conv1_1`."""
    return column if "/" in column else f"loss/{column}"


def _write_step(stage: Path, step: int, moment: int, image: Image.Image) -> None:
    """Write an image and its thumbnail into `stage` under the names `MlflowClient.log_image` gives.

    `log_image` itself makes three requests an image, one after the other; a folder sent as a whole
    takes two, and the names are the same when it is sent again.
    """
    (stage / "images").mkdir(exist_ok=True)
    name = f"canvas+step+{step}+timestamp+{moment}+nst"
    image.save(stage / "images" / f"{name}.png", pnginfo=SRGB)
    thumbnail = ImageOps.contain(image, THUMBNAIL)
    thumbnail.save(stage / "images" / f"{name}+compressed.webp")
