"""A contact sheet that moves: its canvases in step by iteration, as a video and for a README."""

import math
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nst.io.video import Video, decode
from nst.report.contact_sheet import (
    MARGIN,
    PAPER,
    Sheet,
    canvas_tile,
    fitting,
    in_middle,
    placeholder,
    resize,
)
from nst.report.text_layout import GREY, NOTE, Text, line_height
from nst.runs.reader import Run, canvas_size

Picture = NDArray[np.uint8]  # [height, width, 3]

MOST_FRAMES = 300
# A decoder is a process: for more canvases than this the video is kept in so many bytes of memory instead.
MOST_DECODERS, KEPT = 64, 1 << 30

# Of 51; at the usual 23 the brush strokes blur. veryfast takes half the time of the usual preset for the same
# size, and its mean error is 2.0 levels of 256 where that has 1.5.
X264 = "-preset veryfast -crf 18"

# A README shows it beside its text: smaller, fewer frames, and time to look at what came out.
WEBP_WIDTH, WEBP_FRAMES, WEBP_HOLD = 1000, 48, 3  # pixels, frames, seconds of the last one
WEBP_QUALITY, WEBP_EFFORT = 50, 2  # of 100, of 6


def animate(sheet: Sheet, mp4: Path, webp: Path) -> None:
    """Write the video of a sheet that was laid out with a footer, to both files.

    The canvases are in step by iteration, and one that is done holds its final canvas. A video of
    more than `MOST_FRAMES` is shown in longer steps, and of very many canvases in longer ones; the WebP
    has `WEBP_FRAMES` of these at most, among them the first and the last, and takes as long.
    """
    # Others keep a placeholder.
    painted = {(x, y): run for x, y, run in sheet.cells if run and run.record.finished}
    many = len(painted) > MOST_DECODERS
    most = min(MOST_FRAMES, KEPT // (len(painted) * 3 * math.prod(sheet.box))) if many else MOST_FRAMES
    times = _timeline([run.record.frames for run in painted.values()], max(1, most))
    rates = [run.value("fps") for run in painted.values()]
    fps = next((rate for rate in rates if isinstance(rate, int | float)), 30)

    page = np.array(sheet.draw())  # as the encoder takes it: Pillow makes a copy of a page that is read
    width, height = sheet.size
    footer = height - MARGIN - line_height(NOTE)
    below = Image.new("RGB", (width, height - footer))
    chosen = np.linspace(0, len(times) - 1, min(WEBP_FRAMES, len(times))).round().astype(int).tolist()
    small: list[Image.Image] = []
    with ExitStack() as stack:
        video = stack.enter_context(Video(mp4, fps, (height, width), X264))
        moving: dict[tuple[int, int], Iterator[Picture]] = {}
        for at, run in painted.items():
            moving[at] = played = stack.enter_context(closing(_playback(run, times, sheet.box)))
            if many:
                moving[at] = iter(list(played))
        for index, time in enumerate(times):
            below.paste(PAPER, (0, 0, *below.size))
            count = f"iteration {time:,} of {times[-1]:,}"
            Text(count, NOTE, GREY, width - MARGIN, 0, "ra").draw(ImageDraw.Draw(below))
            page[footer:] = np.asarray(below)
            for (x, y), pictures in moving.items():
                page[y : y + sheet.box[1], x : x + sheet.box[0]] = next(pictures)
            video.append(page)
            if index in chosen:
                small.append(_reduced(Image.fromarray(page)))
    held = round(1000 * (len(times) - 1) / fps / max(1, len(small) - 1))
    small[0].save(
        webp,
        save_all=True,
        append_images=small[1:],
        duration=[held] * (len(small) - 1) + [1000 * WEBP_HOLD],
        loop=0,
        quality=WEBP_QUALITY,
        method=WEBP_EFFORT,
    )


def _reduced(page: Image.Image) -> Image.Image:
    """A copy of a page that is as wide as a README shows it."""
    width = min(WEBP_WIDTH, page.width)
    return page.resize((width, round(page.height * width / page.width)), Image.Resampling.HAMMING)


def _timeline(frames: list[list[int]], most: int) -> list[int]:
    """The iterations to show: 0 to the last of any cell, in steps of the cell with the smallest.

    The steps are longer where these would be more than `most`.
    """
    last = max((cell[-1] for cell in frames if cell), default=0)
    step = max(1, min((cell[1] - cell[0] for cell in frames if len(cell) > 1), default=1))
    step *= max(1, math.ceil(last / (step * most)))
    return [*range(0, last, step), last]


def _playback(run: Run, times: list[int], box: tuple[int, int]) -> Generator[Picture]:
    """For each of `times` the canvas as it was then, in a box; from its last frame on, the
    final canvas.
    """
    iterations, size = run.record.frames, canvas_size(run.folder)
    final = np.asarray(canvas_tile(run, box))
    shown = np.asarray(placeholder("missing", f"{run.folder.name}/canvas.mp4", box))
    # A video's sides are even: beside an odd canvas it has a row and a column more.
    scaled = (size, fitting(size, box)) if size else None
    with closing(decode(run.folder / "canvas.mp4", scaled=scaled)) as video:
        following = 0
        for time in times:
            if not iterations or time >= iterations[-1]:
                yield final
                continue
            frame = None
            while iterations[following] <= time:
                frame = next(video, frame)  # a video that was cut short holds its last frame
                following += 1
            if frame is not None:
                shown = frame if frame.shape[1::-1] == box else _boxed(Image.fromarray(frame), box, size)
            yield shown


def _boxed(picture: Image.Image, box: tuple[int, int], scaled: object) -> Picture:
    """A frame in the middle of its box, made as large as it is shown unless it is."""
    return np.asarray(in_middle(picture, box) if scaled else resize(picture, box))
