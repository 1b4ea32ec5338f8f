"""A run directory, read."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from nst.errors import NstError
from nst.io.color import laid_on_white
from nst.io.files import open_regular, open_text
from nst.io.video import decode


@dataclass(frozen=True)
class Run:
    """A run directory, read: what `run.py` left of one cell.

    Attributes:
        config: the resolved config, as nested dictionaries: `run.config["weights"]["style"]`.
        iterations: the iteration that each frame shows.
    """

    folder: Path
    config: dict[str, Any]
    iterations: list[int]

    @cached_property
    def losses(self) -> dict[str, Tensor]:
        """Of each iteration, `[n]` in float64, by the names that `IterationInfo` has."""
        with open_text(self.folder / "losses.csv") as file:
            rows = list(csv.DictReader(file))
        names = [name for name in rows[0] if name != "iteration"] if rows else []
        return {name: torch.tensor([float(row[name]) for row in rows], dtype=torch.float64) for name in names}

    @cached_property
    def canvas(self) -> Tensor:
        """The final canvas, `[3, H, W]` with values in [0, 1], on white where it is transparent."""
        with open_regular(self.folder / "canvas.png") as file, Image.open(file, formats=["PNG"]) as image:
            pixels = torch.frombuffer(bytearray(laid_on_white(image).tobytes()), dtype=torch.uint8)
            return pixels.view(image.height, image.width, 3).permute(2, 0, 1) / 255

    def frames(self) -> Iterator[Tensor]:
        """The canvas at each of `iterations` as the video has it, `[3, H, W]` with values in [0, 1]."""
        height, width = self.canvas.shape[1:]
        for pixels in decode(self.folder / "canvas.mp4"):
            # The sides of a video are even: beside an odd canvas it has a row and a column more.
            yield torch.from_numpy(pixels[:height, :width].copy()).permute(2, 0, 1) / 255


def load_run(folder: str | Path) -> Run:
    """Read a run directory; raises NstError where there is none."""
    from omegaconf import OmegaConf  # late, and Hydra with the schema: who paints needs neither
    from omegaconf.errors import OmegaConfBaseException

    from nst.config.schema import register_resolvers
    from nst.runs.reader import read_run

    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise NstError(f"{folder}: no run.json in it; give a run directory")
    register_resolvers()  # they are in the config
    run = read_run(folder)
    config: Any
    try:
        config = OmegaConf.to_container(run.config, resolve=True)
    except OmegaConfBaseException:  # `${hydra:...}` means nothing once the run is over
        config = OmegaConf.to_container(run.config)
    return Run(folder, config, list(run.record.frames))
