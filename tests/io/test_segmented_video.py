"""A video in segments: what was ended survives, and joined segments show every frame once and in order."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from nst.errors import NstError
from nst.io.segmented_video import SegmentedVideo

SIZE = 32


def grey(level: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.full((SIZE, SIZE, 3), level * 6, np.uint8)


def levels(path: Path) -> list[int]:
    return [round(frame.mean() / 6) for frame in imageio.imread(path, plugin="FFMPEG")]


@pytest.mark.parametrize("fps", [2, 30])
@pytest.mark.parametrize("ends", [[], [1], [1, 2], [3, 10, 11, 30], [2, 4, 6, 8, 10, 12]])
def test_segments_are_joined_frame_by_frame(ends: list[int], fps: int, tmp_path: Path) -> None:
    video = SegmentedVideo(tmp_path, "0", fps, SIZE)
    for number in range(40):
        video.append(grey(number))
        if number in ends:
            video.end_segment()
    video.finish(tmp_path / "canvas.mp4", 40)
    assert levels(tmp_path / "canvas.mp4") == list(range(40))
    assert len(video.segments) == len(ends) + 1


def test_another_video_goes_on_after_the_last_ended_segment(tmp_path: Path) -> None:
    video = SegmentedVideo(tmp_path, "0", 30, SIZE)
    for number in range(5):
        video.append(grey(number))
    video.end_segment()
    video.append(grey(40))  # lost
    video.discard()
    other = SegmentedVideo(tmp_path, "0", 30, SIZE, segments=video.segments)
    for number in range(5, 9):
        other.append(grey(number))
    other.finish(tmp_path / "canvas.mp4", 9)
    assert levels(tmp_path / "canvas.mp4") == list(range(9))


def test_no_frame_is_no_video(tmp_path: Path) -> None:
    video = SegmentedVideo(tmp_path, "0", 30, SIZE)
    video.end_segment()
    video.finish(tmp_path / "canvas.mp4", 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("share", "says"),
    [(None, "gone"), (0, "damaged"), (0.5, "damaged"), (0.9, "damaged")],
)
@pytest.mark.parametrize("segments", [1, 3])
def test_a_segment_that_is_not_what_it_was_is_named(
    segments: int, share: float | None, says: str, tmp_path: Path
) -> None:
    video = SegmentedVideo(tmp_path, "0", 30, SIZE)
    for number in range(2 * segments):
        video.append(grey(number))
        if number % 2:
            video.end_segment()
    last = tmp_path / f"0-{segments - 1}.mp4"
    content = last.read_bytes()
    last.unlink()
    if share is not None:
        last.write_bytes(content[: int(share * len(content))])
    with pytest.raises(NstError, match=rf"{last.name}: this segment of the video is {says}"):
        video.finish(tmp_path / "canvas.mp4", 2 * segments)
    assert not (tmp_path / "canvas.mp4").exists()


def test_joined_segments_of_another_length_than_was_painted_are_no_video(tmp_path: Path) -> None:
    video = SegmentedVideo(tmp_path, "0", 30, SIZE)
    for number in range(6):
        video.append(grey(number))
        if number == 3:
            video.end_segment()
    with pytest.raises(NstError, match=r"canvas\.mp4: 6 frames, where 7 were painted"):
        video.finish(tmp_path / "canvas.mp4", 7)
    assert not (tmp_path / "canvas.mp4").exists()
