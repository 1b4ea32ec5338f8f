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
    reel.finish(tmp_path / "canvas.mp4", 40)
    assert levels(tmp_path / "canvas.mp4") == list(range(40))
    assert len(reel.pieces) == len(cuts) + 1


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
    other.finish(tmp_path / "canvas.mp4", 9)
    assert levels(tmp_path / "canvas.mp4") == list(range(9))


def test_no_frame_is_no_video(tmp_path: Path) -> None:
    reel = Reel(tmp_path, "0", 30, SIZE)
    reel.cut()
    reel.finish(tmp_path / "canvas.mp4", 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("share", "says"),
    [(None, "gone"), (0, "not what it was"), (0.5, "not what it was"), (0.9, "not what it was")],
)
@pytest.mark.parametrize("pieces", [1, 3])
def test_a_piece_that_is_not_what_it_was_is_named(
    pieces: int, share: float | None, says: str, tmp_path: Path
) -> None:
    reel = Reel(tmp_path, "0", 30, SIZE)
    for number in range(2 * pieces):
        reel.append(grey(number))
        if number % 2:
            reel.cut()
    last = tmp_path / f"0-{pieces - 1}.mp4"
    content = last.read_bytes()
    last.unlink()
    if share is not None:
        last.write_bytes(content[: int(share * len(content))])
    with pytest.raises(NstError, match=rf"{last.name}: a piece of the film is {says}"):
        reel.finish(tmp_path / "canvas.mp4", 2 * pieces)
    assert not (tmp_path / "canvas.mp4").exists()


def test_joined_pieces_of_another_length_than_was_painted_are_no_film(tmp_path: Path) -> None:
    reel = Reel(tmp_path, "0", 30, SIZE)
    for number in range(6):
        reel.append(grey(number))
        if number == 3:
            reel.cut()
    with pytest.raises(NstError, match=r"canvas\.mp4: 6 frames, where 7 were painted"):
        reel.finish(tmp_path / "canvas.mp4", 7)
    assert not (tmp_path / "canvas.mp4").exists()
