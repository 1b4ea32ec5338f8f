"""The frames of a canvas as small pictures, at moments that all cells of a page share."""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from nst.io.files import open_regular
from nst.io.video import decode
from nst.report.page.pictures import webp
from nst.runs.reader import Run, canvas_size

MOST_STRIPS = 400  # more would make a page too large: 77 kB each
MOST_FRAMES = 24
FRAME_SIDE = 160  # pixels of the longer side
FRAME_BYTES = 2400  # of a frame; 24 of them take 77 kB in base64
# Share of the side, and WebP's quality. Noise takes many bytes, and nobody looks at it closely.
RUNGS = ((1, 60), (1, 45), (1, 30), (0.75, 45), (0.75, 30), (0.75, 20), (0.75, 12), (0.6, 20))


@dataclass(frozen=True)
class FrameStrip:
    """The frames of a cell, each a WebP picture, to be shown with (width, height) = `size` pixels.

    `last` is the iteration of the final canvas. `shows` has for each moment of the page the place of
    its frame among `frames`, None for the final canvas, and `film` its place in the video. There are no
    frames if none can be read, or if nothing but the final canvas is shown.
    """

    frames: tuple[bytes, ...]
    size: tuple[int, int]
    last: int
    shows: list[int | None]
    film: list[int]


class FrameStrips:
    """The frame strips at the moments `times`; a video that several runs share is decoded once.

    There are no moments, and no strips, where there are more than `MOST_STRIPS` runs.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        moments = {moment for run in runs if len(runs) <= MOST_STRIPS for moment in run.record.frames}
        self.times = spread(tuple(sorted(moments)), MOST_FRAMES)
        self._keys = {run.folder: _key(run) for run in runs}
        films = {self._keys[run.folder]: (run.folder / "canvas.mp4", run.record.frames) for run in runs}
        with ThreadPoolExecutor() as threads:
            strips = threads.map(lambda film: self._read(*film), films.values())
            self._known = dict(zip(films, strips, strict=True))

    def of(self, run: Run) -> FrameStrip:
        """The frame strip of one of the runs."""
        return self._known[self._keys[run.folder]]

    def _read(self, path: Path, frames: list[int]) -> FrameStrip:
        at = [max(bisect_right(frames, time) - 1, 0) for time in self.times]
        final, last = len(frames) - 1, max(frames, default=0)
        wanted = sorted({frame for frame in at if frame < final})
        shows = [wanted.index(frame) if frame < final else None for frame in at]
        pictures = _decode(path, wanted) if wanted else []
        if not pictures:
            return FrameStrip((), (0, 0), last, shows, at)
        # A video that was cut short holds its last frame.
        pictures += pictures[-1:] * (len(wanted) - len(pictures))
        return FrameStrip(tuple(_encode(pictures)), pictures[0].size, last, shows, at)


def _key(run: Run) -> str:
    """What runs that show the same frames have in common."""
    path = run.folder / "canvas.mp4"
    try:
        return f"{hashlib.sha256(_content(path)).hexdigest()} {run.record.frames}"
    except OSError:
        return str(path)


def _content(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read()


def _encode(pictures: list[Image.Image]) -> list[bytes]:
    """Frames in order, each as good as its bytes allow, and none better than the one after it.

    The later a frame, the less of noise is in it: from the last one back, only ever down the rungs.
    """
    rung = 0
    encoded: list[bytes] = []
    for picture in reversed(pictures):
        frame = _compress(picture, rung)
        while len(frame) > FRAME_BYTES and rung + 1 < len(RUNGS):
            rung += 1
            frame = _compress(picture, rung)
        encoded.append(frame)
    return encoded[::-1]


def _compress(picture: Image.Image, rung: int) -> bytes:
    share, quality = RUNGS[rung]
    size = (max(1, round(share * picture.width)), max(1, round(share * picture.height)))
    return webp(picture.resize(size, Image.Resampling.LANCZOS), quality=quality)


@lru_cache(64)  # most cells of a page have the same
def spread(iterations: tuple[int, ...], most: int) -> list[int]:
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


def _decode(path: Path, wanted: Sequence[int]) -> list[Image.Image]:
    """The wanted frames of a video, ascending, as far as they can be read, and as small as they are shown."""
    pictures: list[Image.Image] = []
    size = canvas_size(path.parent)
    if size is None:
        return []
    with closing(decode(path)) as video, suppress(OSError):
        for number, frame in enumerate(video):
            if len(pictures) == len(wanted):
                break
            if number == wanted[len(pictures)]:
                # A video's sides are even: beside an odd canvas it has a row and a column more.
                picture = Image.fromarray(frame).crop((0, 0, *size))
                picture.thumbnail((FRAME_SIDE, FRAME_SIDE), Image.Resampling.LANCZOS)
                pictures.append(picture)
    return pictures
