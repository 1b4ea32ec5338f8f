"""The frames of a canvas as one picture, at moments that all cells of a page share."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

from nst.grid import Run
from nst.page.pictures import data_uri, webp

MOST_FRAMES = 24
FRAME_SIDE = 160  # pixels
STRIP_BYTES = 56 * 1024  # base64 makes 75 KiB of it
QUALITIES = (60, 45, 30)  # of WebP's 100; noise takes many bytes, and is forgiving


@dataclass(frozen=True)
class Film:
    """The frames of a cell, square and one below the other in the picture `strip`, `side` pixels each.

    `shows` has for each moment of the page the place of its frame in the strip; None is the final
    canvas. `strip` is None if nothing can be read, or if nothing but the final canvas is shown.
    """

    strip: str | None
    side: int
    shows: list[int | None]


class Films:
    """Films at the moments `times`; a video that several runs share is decoded once."""

    def __init__(self, runs: Iterable[Run]) -> None:
        moments = {moment for run in runs for moment in _frames(run)}
        self.times = spread(sorted(moments), MOST_FRAMES)
        self._known: dict[str, Film] = {}

    def of(self, run: Run) -> Film:
        """The film of a run that is finished."""
        frames = _frames(run)
        path = run.folder / "canvas.mp4"
        try:
            key = f"{hashlib.sha256(path.read_bytes()).hexdigest()} {frames}"
        except OSError:
            key = f"{path}"
        if key not in self._known:
            self._known[key] = self._read(path, frames)
        return self._known[key]

    def _read(self, path: Path, frames: list[int]) -> Film:
        at = [max(bisect_right(frames, time) - 1, 0) for time in self.times]
        final = len(frames) - 1
        wanted = sorted({frame for frame in at if frame < final})
        shows = [wanted.index(frame) if frame < final else None for frame in at]
        pictures = _decode(path, wanted) if wanted else []
        if not pictures:
            return Film(None, 0, shows)
        # A film that was cut short holds its last frame.
        pictures += pictures[-1:] * (len(wanted) - len(pictures))
        side = pictures[0].width
        strip = Image.new("RGB", (side, side * len(pictures)))
        for place, picture in enumerate(pictures):
            strip.paste(picture, (0, place * side))
        for quality in QUALITIES:
            encoded = webp(strip, quality=quality)
            if len(encoded) <= STRIP_BYTES:
                break
        return Film(data_uri(encoded), side, shows)


def spread(iterations: Sequence[int], most: int) -> list[int]:
    """At most `most` of ascending iterations, evenly spread by the logarithm of 1 + iteration.

    The first and the last are among them. The paint moves fast at first and slowly for long.
    """
    if len(iterations) <= most:
        return list(iterations)
    known = np.asarray(iterations)
    first, last = iterations[0] + 1, iterations[-1] + 1
    chosen = known[[0, -1]]
    # At the start several moments fall on one frame, so more are tried than are wanted.
    for count in range(3, 4 * most):
        places = np.searchsorted(known, np.geomspace(first, last, count).round() - 1)
        found = known[np.unique(places.clip(max=len(known) - 1))]
        if len(found) > most:
            break
        chosen = found
    return [int(iteration) for iteration in chosen]


def _frames(run: Run) -> list[int]:
    """The iteration of each frame of a run's canvas.mp4."""
    frames = run.record.get("frames")
    return [at for at in frames if isinstance(at, int) and at >= 0] if isinstance(frames, list) else []


def _decode(path: Path, wanted: Sequence[int]) -> list[Image.Image]:
    """The wanted frames of a video, ascending, as far as they can be read, as squares."""
    pictures: list[Image.Image] = []
    with closing(imageio_ffmpeg.read_frames(path, input_params=["-threads", "1"])) as video:
        try:
            width, height = next(video)["size"]
            with Image.open(path.with_name("canvas.png")) as canvas:
                size = canvas.width  # a video's sides are even: an odd canvas is one less
            side = min(size, FRAME_SIDE)
            for number, frame in enumerate(video):
                if len(pictures) == len(wanted):
                    break
                if number == wanted[len(pictures)]:
                    picture = Image.frombytes("RGB", (width, height), frame).crop((0, 0, size, size))
                    pictures.append(picture.resize((side, side), Image.Resampling.LANCZOS))
        except (OSError, RuntimeError, SyntaxError):  # the last is Pillow's for a broken PNG
            pass
    return pictures
