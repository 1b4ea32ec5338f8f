"""Contact sheets of a sweep, still and moving.

Reads run directories and nothing else, so an old sweep can have its sheets made again:

    python -m nst.gallery FOLDER
"""

import math
import sys
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path

import imageio_ffmpeg
from PIL import Image, ImageDraw

from nst.errors import NstError
from nst.files import write_whole
from nst.grid import Grid, Run, grid, read_run
from nst.lettering import GREY, NOTE, Text, line_height
from nst.sheet import MARGIN, PAPER, Sheet, canvas, lay_out, placeholder, resize

__all__ = ["Grid", "animated_sheet", "contact_sheet", "grid"]

MOST_FRAMES = 300

H264 = {
    "codec": "libx264",
    "quality": 6,  # of 10; at the usual 5 the brush strokes blur
    "pix_fmt_out": "yuv420p",
    "macro_block_size": 2,
    # The colour matrix is named, because players guess that of a large picture wrong.
    "output_params": [
        *("-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709"),
        *("-movflags", "+faststart"),
    ],
}


def contact_sheet(sweep_dir: Path) -> Path:
    """Write `sheet.png`, the final canvases of a sweep directory as a grid, and return its path.

    Raises:
        NstError: `sweep_dir` does not exist or has no runs.
    """
    path = sweep_dir / "sheet.png"
    page = lay_out(grid(sweep_dir)).draw()
    with write_whole(path) as temporary:
        page.save(temporary)
    return path


def animated_sheet(sweep_dir: Path) -> Path:
    """Write `sheet.mp4`, the same grid with its canvases in step by iteration; return its path.

    A cell that is done holds its final canvas. A sweep of more than `MOST_FRAMES` frames is shown
    in longer steps.

    Raises:
        NstError: `sweep_dir` does not exist or has no runs.
    """
    path = sweep_dir / "sheet.mp4"
    sheet = lay_out(grid(sweep_dir), footer=True)
    with write_whole(path) as temporary:
        _film(sheet, temporary)
    return path


def _film(sheet: Sheet, path: Path) -> None:
    runs = {(x, y): read_run(folder) for x, y, folder in sheet.cells if folder}
    painted = {at: run for at, run in runs.items() if run.finished}  # others keep a placeholder
    times = _timeline([_iterations(run) for run in painted.values()])
    rates = [run.value("fps") for run in painted.values()]
    fps = next((rate for rate in rates if isinstance(rate, int | float)), 30)

    page = sheet.draw()
    width, height = sheet.size
    footer = height - MARGIN - line_height(NOTE)
    with ExitStack() as reels:
        video = imageio_ffmpeg.write_frames(path, sheet.size, fps=fps, **H264)
        reels.enter_context(closing(video))
        video.send(None)
        moving = {
            at: reels.enter_context(closing(_playback(run, times, sheet.side))) for at, run in painted.items()
        }
        for time in times:
            page.paste(PAPER, (0, footer, width, height))
            count = f"iteration {time:,} of {times[-1]:,}"
            Text(count, NOTE, GREY, width - MARGIN, footer, "ra").draw(ImageDraw.Draw(page))
            for at, reel in moving.items():
                page.paste(next(reel), at)
            video.send(page.tobytes())


def _iterations(run: Run) -> list[int]:
    """The iteration of each frame of a run's canvas.mp4."""
    frames = run.record.get("frames")
    return [at for at in frames if isinstance(at, int)] if isinstance(frames, list) else []


def _timeline(frames: list[list[int]]) -> list[int]:
    """The iterations to show: 0 to the last of any cell, in steps of the cell with the smallest."""
    last = max((cell[-1] for cell in frames if cell), default=0)
    step = max(1, min((cell[1] - cell[0] for cell in frames if len(cell) > 1), default=1))
    step *= max(1, math.ceil(last / (step * MOST_FRAMES)))
    return [*range(0, last, step), last]


def _playback(run: Run, times: list[int], side: int) -> Generator[Image.Image]:
    """For each of `times` the canvas as it was then, `side` pixels; from its last frame on, the
    final canvas.
    """
    iterations = _iterations(run)
    final = canvas(run.folder, side)
    shown = placeholder("missing", f"{run.folder.name}/canvas.mp4", side)
    with closing(_decode(run.folder / "canvas.mp4")) as video:
        following = 0
        for time in times:
            if not iterations or time >= iterations[-1]:
                yield final
                continue
            frame = None
            while iterations[following] <= time:
                frame = next(video, frame)  # a film that was cut short holds its last frame
                following += 1
            if frame:
                shown = resize(frame, side)
            yield shown


def _decode(path: Path) -> Generator[Image.Image]:
    """The frames of a video that can be read, one at a time: a whole sweep's would fill memory."""
    # One thread each, because there are as many decoders as cells.
    video = imageio_ffmpeg.read_frames(path, input_params=["-threads", "1"])
    with closing(video):
        try:
            size = next(video)["size"]
            for frame in video:
                yield Image.frombytes("RGB", size, frame)
        except (OSError, RuntimeError):
            return


def main(arguments: list[str]) -> int:
    """Make both sheets of the sweep directory named on the command line; 2 if that cannot be."""
    try:
        if len(arguments) != 1:
            raise NstError("usage: python -m nst.gallery FOLDER, where FOLDER is that of a sweep")
        for make in (contact_sheet, animated_sheet):
            print(make(Path(arguments[0])))
    except NstError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
