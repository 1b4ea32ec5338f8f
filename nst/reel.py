"""A video in pieces, each whole on disk before the next begins."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nst.errors import NstError
from nst.video import Video, join


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
        if pieces:
            join(pieces, path)

    def _piece(self, number: int) -> Path:
        return piece_path(self._folder, self._name, number)


def piece_path(folder: Path, name: str, number: int) -> Path:
    """Where a piece of the film `name` is."""
    return folder / f"{name}-{number}.mp4"
