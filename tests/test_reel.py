"""A film in pieces: what was cut survives, and joined pieces show every frame once and in order."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from nst.errors import NstError
from nst.reel import Reel

SIZE = 32


def grey(level: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.full((SIZE, SIZE, 3), level * 6, np.uint8)


def levels(path: Path) -> list[int]:
    return [round(frame.mean() / 6) for frame in imageio.imread(path, plugin="FFMPEG")]


@pytest.mark.parametrize("fps", [2, 30])
@pytest.mark.parametrize("cuts", [[], [1], [1, 2], [3, 10, 11, 30], [2, 4, 6, 8, 10, 12]])
def test_pieces_are_joined_frame_by_frame(cuts: list[int], fps: int, tmp_path: Path) -> None:
    reel = Reel(tmp_path, "0", fps, SIZE)
    for number in range(40):
        reel.append(grey(number))
        if number in cuts:
            reel.cut()
    reel.finish(tmp_path / "canvas.mp4")
    assert levels(tmp_path / "canvas.mp4") == list(range(40))
    assert reel.pieces == len(cuts) + 1


def test_another_reel_goes_on_behind_the_latest_cut(tmp_path: Path) -> None:
    reel = Reel(tmp_path, "0", 30, SIZE)
    for number in range(5):
        reel.append(grey(number))
    reel.cut()
    reel.append(grey(40))  # lost
    reel.discard()
    other = Reel(tmp_path, "0", 30, SIZE, pieces=reel.pieces)
    for number in range(5, 9):
        other.append(grey(number))
    other.finish(tmp_path / "canvas.mp4")
    assert levels(tmp_path / "canvas.mp4") == list(range(9))


def test_no_frame_is_no_video(tmp_path: Path) -> None:
    reel = Reel(tmp_path, "0", 30, SIZE)
    reel.cut()
    reel.finish(tmp_path / "canvas.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_piece_that_is_gone_is_named(tmp_path: Path) -> None:
    reel = Reel(tmp_path, "0", 30, SIZE)
    for number in range(3):
        reel.append(grey(number))
        reel.cut()
    (tmp_path / "0-1.mp4").unlink()
    with pytest.raises(NstError, match=r"0-1\.mp4: a piece of the film is gone"):
        reel.finish(tmp_path / "canvas.mp4")
    assert not (tmp_path / "canvas.mp4").exists()
