"""What a config says of the film that is its content image."""

from dataclasses import replace
from pathlib import Path

from nst.config.schema import Config
from nst.core.init_images import File
from nst.core.scales import Single
from nst.io.film import Film, film_at
from nst.io.images import located


def film_of(config: Config) -> Film | None:
    """The film at `images.content`; None if that is a picture."""
    return film_at(*located(config.images.content))


def frame_count(config: Config) -> int:
    """How many frames are painted; 1 of a picture."""
    film = film_of(config)
    return min(film.count, config.frames.most or film.count) if film else 1


def all_iterations(config: Config) -> int:
    """The iterations of a cell; of a film those of all its frames."""
    return config.all_iterations + (frame_count(config) - 1) * later_iterations(config)


def frames_cost(config: Config) -> float:
    """What a cell costs beside its first frame, about; 1 of a picture."""
    return all_iterations(config) / config.all_iterations


def later_iterations(config: Config) -> int:
    """Of each frame but the first: one that begins from the canvas before it is near its end.

    At least 2: the canvas of the last iteration is the one before its step.
    """
    if not config.frames.warm:
        return config.all_iterations
    return config.frames.iterations or max(2, config.all_iterations // 4)


def frame_config(config: Config, picture: Path, begin: Path | None) -> Config:
    """The cell of a frame, which is an ordinary one.

    Args:
        config: of the film.
        picture: the frame.
        begin: the picture that it begins from; None for what `init_image` says.
    """
    frame = replace(config, images=replace(config.images, content=str(picture)))
    if begin is None:
        return frame
    return replace(
        frame, init_image=File(path=str(begin)), iterations=later_iterations(config), scales=Single()
    )
