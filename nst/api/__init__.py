"""The public API, for notebooks and other programs: paint, load a run directory, score a canvas.

It needs neither Hydra nor MLflow nor matplotlib. `docs/library.md` has an example.
"""

from nst.api.cell import Cell
from nst.api.paint import IterationInfo, Painting, paint
from nst.api.run import Run, load_run
from nst.api.score import score

__all__ = ["Cell", "IterationInfo", "Painting", "Run", "load_run", "paint", "score"]
