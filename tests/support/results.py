"""Run directories: painted in this process, and read back from the disk and from MLflow."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image

from nst.execution.batch import run_batch
from nst.runs.job import Job, Result

from .command import SMALL
from .composing import config


def paint_here(folder: Path, *cells: Sequence[str]) -> list[Result]:
    """Paint cells as one batch in this process, into numbered folders."""
    return run_batch(
        [
            Job(config(*SMALL, "tracking=none", *overrides), folder / str(number), tuple(overrides))
            for number, overrides in enumerate(cells)
        ]
    )


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    return found


def pixels(run: Path) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    return np.asarray(Image.open(run / "canvas.png"))


def children(store: Path) -> tuple[Run, list[Run]]:
    """The one parent of an MLflow store, and its children by name."""
    client = MlflowClient(f"sqlite:///{store}")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = list(client.search_runs(ids))
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    cells = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in cells} == {parent.info.run_id}
    return parent, sorted(cells, key=lambda run: str(run.data.tags["nst.run_dir"]))
