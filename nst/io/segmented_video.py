"""A video in segments, each whole on disk before the next begins."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nst.errors import NstError
from nst.io.files import atomic_copy, atomic_write, format_error, sha256_of
from nst.io.video import Video, join


class SegmentedVideo:
    """The frames of one canvas, of which those before the latest `end_segment` are safe on disk.

    Args:
        folder: where the segments are, NAME-0.mp4, NAME-1.mp4, ...
        name: of this canvas, unlike that of any other in the folder.
        fps: frames a second.
        shape: (height, width) of a frame, in pixels.
        segments: the hashes of those that are there already.
    """

    def __init__(
        self, folder: Path, name: str, fps: int, shape: tuple[int, int], segments: Sequence[str] = ()
    ) -> None:
        self._folder, self._name, self._fps, self._shape = folder, name, fps, shape
        self.segments = list(segments)
        self._open = ExitStack()
        self._video: Video | None = None

    def append(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame, uint8 `[height, width, 3]`; raises NstError where it cannot be written."""
        if self._video is None:
            self._video = self._open.enter_context(
                Video(self._segment(len(self.segments)), self._fps, self._shape)
            )
        self._video.append(frame)

    def end_segment(self) -> None:
        """End the segment: what was appended is on disk when this returns."""
        if self._video is not None:
            self._open.close()
            self._video = None
            self.segments.append(sha256_of(self._segment(len(self.segments))))

    def discard(self) -> None:
        """Let go of what was appended since the latest segment ended."""
        error = NstError("discarded")
        self._open.__exit__(type(error), error, None)
        self._video = None

    def finish(self, path: Path, frames: int) -> None:
        """Join the segments to one video at `path`, of so many frames; without a frame there is none.

        Raises:
            NstError: a segment is gone or damaged, or the video has another number of frames.
        """
        self.end_segment()
        segments = [self._segment(number) for number in range(len(self.segments))]
        for segment, known in zip(segments, self.segments, strict=True):
            if reason := segment_fault(segment, known):
                raise NstError(f"{reason}; run the same command again, which paints it again")
        if len(segments) == 1:
            atomic_copy(segments[0], path, link=True)
        elif segments:
            with atomic_write(path) as temporary:
                found = join(segments, temporary, self._fps)
                if found != frames:
                    raise NstError(f"{path}: {found} frames, where {frames} were painted; paint it again")

    def _segment(self, number: int) -> Path:
        return segment_path(self._folder, self._name, number)


def segment_path(folder: Path, name: str, number: int) -> Path:
    """Where a segment of the video `name` is."""
    return folder / f"{name}-{number}.mp4"


def segment_fault(segment: Path, known: str) -> str | None:
    """What is wrong with a segment whose hash is `known`, in one line; None if nothing is."""
    try:
        return None if sha256_of(segment) == known else f"{segment}: this segment of the video is damaged"
    except FileNotFoundError:
        return f"{segment}: this segment of the video is gone"
    except OSError as error:
        return format_error(error, segment)
