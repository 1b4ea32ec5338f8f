"""A video in pieces, each whole on disk before the next begins."""

import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from nst.errors import NstError
from nst.files import write_whole
from nst.images import Video
from nst.interrupt import shielded


class Reel:
    """The frames of one canvas, of which those before the latest `cut` survive the process.

    Args:
        folder: where the pieces are, NAME-0.mp4, NAME-1.mp4, ...
        name: of this canvas, unlike that of any other in the folder.
        fps: frames a second.
        size: the side of a frame, in pixels.
        pieces: how many are there already.
    """

    def __init__(self, folder: Path, name: str, fps: int, size: int, pieces: int = 0) -> None:
        self._folder, self._name, self._fps, self._size = folder, name, fps, size
        self.pieces = pieces
        self._open = ExitStack()
        self._video: Video | None = None

    def append(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame, uint8 `[size, size, 3]`; raises NstError where it cannot be written."""
        if self._video is None:
            self._video = self._open.enter_context(Video(self._piece(self.pieces), self._fps, self._size))
        self._video.append(frame)

    def cut(self) -> None:
        """End the piece: what was appended is on disk when this returns."""
        if self._video is not None:
            self._open.close()
            self._video = None
            self.pieces += 1

    def discard(self) -> None:
        """Let go of what was appended since the latest cut."""
        error = NstError("discarded")
        self._open.__exit__(type(error), error, None)
        self._video = None

    def finish(self, path: Path) -> None:
        """Join the pieces to one video at `path`; without a frame there is none."""
        self.cut()
        pieces = [self._piece(number) for number in range(self.pieces)]
        if not pieces:
            return
        with write_whole(path) as temporary:
            if len(pieces) == 1:
                shutil.copyfile(pieces[0], temporary)
            else:
                _join(pieces, temporary)

    def _piece(self, number: int) -> Path:
        return piece_path(self._folder, self._name, number)


def piece_path(folder: Path, name: str, number: int) -> Path:
    """Where a piece of the film `name` is."""
    return folder / f"{name}-{number}.mp4"


def _join(pieces: list[Path], path: Path) -> None:
    """Put videos of the same kind one behind the other, without encoding them again."""
    for piece in pieces:  # of these ffmpeg says nothing
        if not piece.is_file():
            raise NstError(f"{piece}: a piece of the film is gone; paint it again, with resume=false")
    names = "".join(f"file '{piece.name}'\n" for piece in pieces)
    listed = pieces[0].with_suffix(".txt")
    listed.write_text(names)
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-y",
        "-v",
        "error",
        "-xerror",
        "-f",
        "concat",
        "-i",
        str(listed),
    ]
    command += ["-c", "copy", "-movflags", "+faststart", str(path)]
    with shielded():
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise NstError(f"{path}: ffmpeg could not join its pieces: {' '.join(done.stderr.split())}")
