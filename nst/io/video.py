"""Videos in and out, by ffmpeg; one that takes or gives nothing for a minute is ended."""

import errno
import io
import os
import re
import select
import subprocess
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from nst.errors import NstError
from nst.io import timeouts
from nst.io.files import atomic_write, open_regular
from nst.io.signals import block_signals

# One thread each: a sweep encodes many videos at once. veryfast takes half the time of the default preset
# for a smaller file and a mean error at most half a level of 256 more. No frame refers to a later one, so
# that videos can be put one behind the other (nst.io.segmented_video).
VIDEOS = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi")  # names of films end so
SEGMENT = "-preset veryfast -bf 0 -crf 12 -threads 1"


class Video:
    """An mp4 that is written frame by frame and appears at `path` whole or not at all.

        with Video(path, fps=30, size=128) as video:
            video.append(frame)

    `size` is the side of a square frame or `(height, width)`, in pixels; an odd side is made even,
    as 4:2:0 chroma needs, by repeating its last row or column. The file is H.264 with faststart,
    tagged as the sRGB it came from, so browsers play it and show its colours; `x264` are options of
    its encoder. Leaving the block by an exception leaves no file. Raises NstError if ffmpeg cannot be
    started, dies or is stuck.
    """

    def __init__(self, path: Path, fps: float, size: int | tuple[int, int], x264: str = SEGMENT) -> None:
        self._path, self._fps, self._x264 = path, fps, x264
        self._height, self._width = (size, size) if isinstance(size, int) else size
        self._frames = 0

    def __enter__(self) -> Self:
        self._encoding = self._encode()
        self._encoding.__enter__()
        return self

    def __exit__(self, *raised: Any) -> bool | None:
        return self._encoding.__exit__(*raised)

    def append(self, frame: NDArray[np.uint8]) -> None:
        """Add `frame`, uint8 `[height, width, 3]`. Raises ValueError if it is anything else."""
        shape = (self._height, self._width, 3)
        if frame.shape != shape or frame.dtype != np.uint8:
            raise ValueError(f"a frame is uint8 {shape}, not {frame.dtype} {frame.shape}")
        if self._height % 2 or self._width % 2:
            frame = np.pad(frame, ((0, self._height % 2), (0, self._width % 2), (0, 0)), mode="edge")
        self._ffmpeg.feed(np.ascontiguousarray(frame).data.cast("B"))
        self._frames += 1

    @contextmanager
    def _encode(self) -> Iterator[None]:
        width, height = self._width + self._width % 2, self._height + self._height % 2
        # Untagged, players guess the colour matrix, and differently.
        colours = (
            "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,"
            "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=iec61966-2-1"
        )
        raw = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {self._fps} -i pipe:0"
        h264 = f"-c:v libx264 {self._x264} -pix_fmt yuv420p"
        options = f"-filter_threads 1 {raw} -vf {colours} {h264} -movflags +faststart"
        with atomic_write(self._path) as temporary:
            command = [*options.split(), f"file:{temporary}"]
            with _Ffmpeg(self._path, command, stdin=subprocess.PIPE) as self._ffmpeg:
                yield
                self._ffmpeg.finish(temporary)
                if not self._frames:  # ffmpeg calls it a success, players do not.
                    raise ValueError(f"{self._path}: a video needs at least one frame")


def decode(
    path: Path, rate: float | None = None, scaled: tuple[tuple[int, int], tuple[int, int]] | None = None
) -> Generator[NDArray[np.uint8]]:
    """The frames of a video, uint8 `[height, width, 3]`, one at a time, as far as they can be read.

    Args:
        path: of the video.
        rate: so many a second: frames of one whose rate varies are repeated, or left out.
        scaled: the (width, height) of each frame that counts, from its upper left corner, and what that is
            enlarged or reduced to.

    Raises NstError if ffmpeg cannot be started or is stuck.
    """
    try:
        open_regular(path).close()
    except OSError:
        return
    options = ["-threads", "1", "-i", f"file:{path}"]
    # Each picture of this kind says how large it is.
    pictures = ["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"]
    if rate is not None:
        pictures = ["-r", str(rate), *pictures]
    if scaled is not None:
        (width, height), size = scaled
        # Half of chroma's pixels cannot be cut; at even sides nothing is.
        crop = f"format=rgb24,crop={width}:{height}:0:0:exact=1," if width % 2 or height % 2 else ""
        flags = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
        scale = f"{crop}scale={size[0]}:{size[1]}:flags={flags},format=rgb24"
        pictures = ["-filter_threads", "1", "-vf", scale, *pictures]
    with _Ffmpeg(path, [*options, *pictures], stdout=subprocess.PIPE) as ffmpeg:
        stream = io.BufferedReader(ffmpeg.output())
        while stream.readline() == b"P6\n":
            width, height = map(int, stream.readline().split())
            stream.readline()  # 255, the brightest level
            pixels = stream.read(3 * width * height)
            if len(pixels) < 3 * width * height:
                return
            yield np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def frame_rate(path: Path) -> float | None:
    """How many frames a second a video has, on average; None if it is none that can be read."""
    options = ["-v", "info", "-i", f"file:{path}", "-map", "0:v:0", "-t", "0", "-f", "null", "-"]
    try:
        with _Ffmpeg(path, options) as ffmpeg:
            ffmpeg.finish(path)
            found = re.search(r"Video:.*?([\d.]+) fps", ffmpeg.complaints())
    except NstError:
        return None
    rate = float(found[1]) if found else 0
    # It rounds those of television.
    exact = {rate_of: rate_of * 1000 / 1001 for rate_of in (24, 30, 60)}
    return next((near for near in exact.values() if abs(near - rate) < 0.006), rate) or None


def join(segments: Sequence[Path], path: Path, fps: float) -> int:
    """Put videos of the same kind one behind the other, without encoding them again; how many frames that is.

    They are played at `fps` frames a second, whatever each of them was. Of frames that it cannot read
    ffmpeg says nothing. Raises NstError if it fails or is stuck.
    """
    listed = segments[0].with_suffix(".txt")
    with atomic_write(listed) as temporary:
        temporary.write_text("".join(f"file '{segment.name}'\n" for segment in segments))
    return _copied(path, ["-xerror", "-f", "concat", "-i", f"file:{listed}", *_at_rate(fps), f"file:{path}"])


def change_rate(path: Path, fps: float) -> None:
    """Let a video of ours be played at `fps` frames a second, without encoding it again.

    Raises NstError if ffmpeg fails or is stuck.
    """
    with atomic_write(path) as temporary:
        _copied(path, ["-xerror", "-i", f"file:{path}", *_at_rate(fps), f"file:{temporary}"])


def _at_rate(fps: float) -> list[str]:
    """Options that copy frames, each shown for as long as every other; our videos show them as they come."""
    frame = f"1/({fps}*TB)"
    times = f"setts=pts=N*{frame}:dts=N*{frame}:duration={frame}"
    return ["-c", "copy", "-bsf:v", times, "-movflags", "+faststart"]


def count_frames(path: Path) -> int:
    """How many frames a video has, without decoding them; 0 if it is none that can be read to its end."""
    try:
        return _copied(path, ["-i", f"file:{path}"])
    except NstError:
        return 0


def _copied(path: Path, options: Sequence[str]) -> int:
    """Let ffmpeg copy frames to where `options` say; returns how many."""
    # A line a frame, beside that: what ffmpeg reports of its progress has no frames in some versions.
    listing = ["-map", "0:v:0", "-c", "copy", "-f", "framecrc", "pipe:1"]
    with TemporaryFile() as lines:
        with _Ffmpeg(path, [*options, *listing], stdout=lines.fileno()) as ffmpeg:
            ffmpeg.finish(path)
        lines.seek(0)
        return sum(not line.startswith(b"#") for line in lines)


class _Ffmpeg:
    """ffmpeg at work on the video `path`; it is killed when the block is left before it has ended."""

    def __init__(self, path: Path, options: Sequence[str], **pipes: int) -> None:
        self._path, self._options, self._pipes = path, options, pipes

    def __enter__(self) -> Self:
        # It complains to a file: a pipe that nobody empties would block it, and then us.
        self._complaints = TemporaryFile()
        try:
            self._process = self._start()
        except BaseException:
            self._complaints.close()
            raise
        return self

    def __exit__(self, *raised: Any) -> None:
        try:
            timeouts.kill(self._process)
        finally:
            for pipe in (self._process.stdin, self._process.stdout, self._complaints):
                if pipe is not None:
                    pipe.close()

    def feed(self, left: memoryview) -> None:
        """Write bytes to it; raises NstError if it has died or takes nothing."""
        assert self._process.stdin is not None
        pipe = self._process.stdin.fileno()
        os.set_blocking(pipe, False)
        try:
            while left:
                if not _ready(pipe, select.POLLOUT):
                    raise self._given_up("taken")
                left = left[os.write(pipe, left) :]
        except BrokenPipeError as error:
            if not timeouts.wait_for_exit(self._process, self._path):
                raise self._given_up("done") from error
            raise self._died() from error

    def output(self) -> io.RawIOBase:
        """What it writes; reading raises NstError if it writes nothing, and does not end."""
        assert self._process.stdout is not None
        return _Output(self._process.stdout.fileno(), lambda: self._given_up("given"))

    def complaints(self) -> str:
        """What it has complained of."""
        self._complaints.seek(0)
        return self._complaints.read().decode(errors="replace")

    def finish(self, writes: Path) -> None:
        """Wait for it to write the rest to a file and end; raises NstError if it fails or is stuck."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if not timeouts.wait_for_exit(self._process, writes):
            raise self._given_up("done")
        if self._process.returncode:
            raise self._died()

    def _start(self) -> "subprocess.Popen[bytes]":
        try:
            with block_signals():
                return subprocess.Popen(
                    [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *self._options],
                    bufsize=0,
                    stdin=self._pipes.get("stdin", subprocess.DEVNULL),
                    stdout=self._pipes.get("stdout", subprocess.DEVNULL),
                    stderr=self._complaints,
                    # If it is stopped when we end, however that is, the kernel lets such a group go on,
                    # and it ends because nobody is at the other end of its pipe.
                    process_group=0,
                )
        except (OSError, RuntimeError) as error:
            way_out = "install ffmpeg, or set IMAGEIO_FFMPEG_EXE to one"
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN):
                way_out = "give a smaller hardware.max_batch, or raise the limit (ulimit -n, ulimit -u)"
            does = "read" if "stdout" in self._pipes else "write"
            raise NstError(f"{self._path}: cannot start ffmpeg to {does} it ({error}); {way_out}") from error

    def _given_up(self, does: str) -> NstError:
        timeouts.kill(self._process)
        return NstError(
            f"{self._path}: ffmpeg has {does} nothing for {timeouts.SECONDS} s; see that its disk answers "
            "and that nothing has stopped it, then run again"
        )

    def _died(self) -> NstError:
        complaints = self.complaints().splitlines()
        # "[vost#0:0/libx264 @ 0x55ce0dd1d280] Error ...": the bracket says nothing to a person.
        reason = complaints[0].rpartition("] ")[2] if complaints else "it gave no reason"
        return NstError(
            f"{self._path}: ffmpeg ended with status {self._process.returncode} before the video "
            f"was whole ({reason}); see that the disk has space for it, then run again"
        )


class _Output(io.RawIOBase):
    """A pipe to read from; where nothing comes through it for too long, what `silent` returns is raised."""

    def __init__(self, pipe: int, silent: Callable[[], NstError]) -> None:
        self._pipe, self._silent = pipe, silent

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not _ready(self._pipe, select.POLLIN):
            raise self._silent()
        return os.readv(self._pipe, [buffer])


def _ready(pipe: int, event: int) -> bool:
    poll = select.poll()
    poll.register(pipe, event)
    return timeouts.wait_until(lambda seconds: poll.poll(1000 * seconds))
