"""Films as content: the frames of an animation, which Pillow reads, or of a video, which ffmpeg reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from nst.io.files import atomic_write
from nst.io.video import VIDEOS, count_frames, decode, frame_rate

ANIMATED = ("GIF", "WEBP", "PNG")
AT_LEAST, ELSE = 20, 100  # ms: a shorter duration means none to browsers, which then take this one


@dataclass(frozen=True)
class Film:
    """A film that can be read.

    Attributes:
        count: of its frames; of a video about.
        rate: frames a second, on average.
        durations: of each frame of an animation, in ms; None for a video, whose frames all have the same.
        loop: how often an animation is repeated, 0 for ever; None for once.
    """

    path: Path
    count: int
    rate: float
    durations: Sequence[int] | None = None
    loop: int | None = None

    def frames(self) -> Iterator[Image.Image]:
        """Its frames, decoded one at a time; raises NstError if ffmpeg cannot be started or is stuck."""
        if self.durations is None:
            yield from map(Image.fromarray, decode(self.path, self.rate))
            return
        with Image.open(self.path, formats=ANIMATED) as image:
            for number in range(self.count):
                image.seek(number)
                yield image.convert("RGBA" if image.has_transparency_data else "RGB")


@lru_cache(maxsize=1024)
def film_at(path: Path, changed: int = 0) -> Film | None:
    """The film at a path; None if there is none, but a picture, or a video that cannot be read.

    The cells of a sweep share films; an edited file has another `changed`.
    """
    if path.suffix.lower() in VIDEOS:
        rate, count = frame_rate(path), count_frames(path)
        return Film(path, count, rate) if rate and count else None
    try:
        with Image.open(path, formats=ANIMATED) as image:
            if not getattr(image, "is_animated", False):
                return None
            durations = []
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                duration = round(image.info.get("duration") or 0)
                durations.append(duration if duration >= AT_LEAST else ELSE)
            rate = 1000 * len(durations) / sum(durations)
            return Film(path, len(durations), rate, tuple(durations), image.info.get("loop"))
    except Exception:  # Pillow's decoders raise whatever the damage made them trip over; `read` says what
        return None


def write_gif(path: Path, frames: Iterator[Image.Image], film: Film) -> None:
    """Write frames as a GIF, each shown as long as that of `film`, and as often."""
    durations = list(film.durations or [])
    reduced = (frame.quantize(256) for frame in frames)
    with atomic_write(path) as temporary:
        loop = {} if film.loop is None else {"loop": film.loop}
        first = next(reduced)
        kept = [first, *reduced]
        first.save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=kept[1:],
            duration=durations[: len(kept)],
            **loop,
        )
