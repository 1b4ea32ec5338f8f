"""A video in pieces, each whole on disk before the next begins."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nst.errors import NstError
from nst.files import copy_whole, trouble, write_whole
from nst.record import digest
from nst.video import Video, join


class Reel:
    """The frames of one canvas, of which those before the latest `cut` survive the process.

    Args:
        folder: where the pieces are, NAME-0.mp4, NAME-1.mp4, ...
        name: of this canvas, unlike that of any other in the folder.
        fps: frames a second.
        size: the side of a frame, in pixels.
        pieces: the hashes of those that are there already.
    """

    def __init__(self, folder: Path, name: str, fps: int, size: int, pieces: Sequence[str] = ()) -> None:
        self._folder, self._name, self._fps, self._size = folder, name, fps, size
        self.pieces = list(pieces)
        self._open = ExitStack()
        self._video: Video | None = None

    def append(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame, uint8 `[size, size, 3]`; raises NstError where it cannot be written."""
        if self._video is None:
            self._video = self._open.enter_context(
                Video(self._piece(len(self.pieces)), self._fps, self._size)
            )
        self._video.append(frame)

    def cut(self) -> None:
        """End the piece: what was appended is on disk when this returns."""
        if self._video is not None:
            self._open.close()
            self._video = None
            self.pieces.append(digest(self._piece(len(self.pieces))))

    def discard(self) -> None:
        """Let go of what was appended since the latest cut."""
        error = NstError("discarded")
        self._open.__exit__(type(error), error, None)
        self._video = None

    def finish(self, path: Path, frames: int) -> None:
        """Join the pieces to one video at `path`, of so many frames; without a frame there is none.

        Raises:
            NstError: a piece is gone or damaged, or the video has another number of frames.
        """
        self.cut()
        pieces = [self._piece(number) for number in range(len(self.pieces))]
        for piece, known in zip(pieces, self.pieces, strict=True):
            if reason := damage(piece, known):
                raise NstError(f"{reason}; run the same command again, which paints it again")
        if len(pieces) == 1:
            copy_whole(pieces[0], path, link=True)
        elif pieces:
            with write_whole(path) as temporary:
                found = join(pieces, temporary, self._fps)
                if found != frames:
                    raise NstError(f"{path}: {found} frames, where {frames} were painted; paint it again")

    def _piece(self, number: int) -> Path:
        return piece_path(self._folder, self._name, number)


def piece_path(folder: Path, name: str, number: int) -> Path:
    """Where a piece of the film `name` is."""
    return folder / f"{name}-{number}.mp4"


def damage(piece: Path, known: str) -> str | None:
    """What is wrong with a piece whose hash is `known`, in a line that names it; None if it is as it was."""
    try:
        return None if digest(piece) == known else f"{piece}: a piece of the film is not what it was"
    except FileNotFoundError:
        return f"{piece}: a piece of the film is gone"
    except OSError as error:
        return trouble(error, piece)
