"""Several processes that log at once, and whether all of it arrived."""

import csv
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from mlflow.tracking import MlflowClient

from nst.tracking.client import Store
from nst.tracking.logger import end_sweep, log_run
from nst.tracking.view import CURVE_POINTS, MOST_POINTS, curve_name

from .forked import CONTEXT, preload
from .mlflow_tables import made_anew

WORKERS = 4


def log_at_once(sweeps: Sequence[Path], shared: Path, store: Store) -> None:
    """Log `sweeps` and the cells of `shared` from four processes; raises what any of them raises."""
    preload({})
    with ProcessPoolExecutor(WORKERS, CONTEXT, made_anew) as pool:
        cells = sorted(path.parent for path in shared.glob("*/run.json"))
        asked = [pool.submit(log_run, cell, store) for cell in cells]
        asked += [pool.submit(end_sweep, sweep, store) for sweep in sweeps]
        asked += [pool.submit(end_sweep, shared, store) for _ in range(2)]
        for each in asked:
            each.result()


def check_arrived(sweeps: Sequence[Path], store: Store) -> tuple[int, int, int]:
    """How many runs, points of metrics and artifacts there are; raises where they are not those on disk."""
    client = MlflowClient(store.uri)
    experiment = client.get_experiment_by_name(store.experiment)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    by_folder = {Path(run.data.tags["nst.run_dir"]): run for run in found}
    cells = [path.parent for sweep in sweeps for path in sweep.glob("*/run.json")]
    assert len(found) == len({run.info.run_id for run in found}) == len(by_folder)
    assert by_folder.keys() == {*sweeps, *cells}
    points = artifacts = 0
    for folder, run in by_folder.items():
        assert run.info.status == "FINISHED"
        assert json.loads((folder / "mlflow.json").read_text())["run_id"] == run.info.run_id
        expected = {path.name for path in folder.iterdir() if path.is_file() and path.name[0] != "."}
        expected.remove("mlflow.json")
        if folder in sweeps:
            expected.add("cells.json")
        else:
            expected = {name for name in expected if name.startswith(("canvas.", "film."))} | {"run.zip"}
        top = client.list_artifacts(run.info.run_id)
        assert {file.path for file in top if not file.is_dir} == expected
        artifacts += len(expected)
        if folder in sweeps:
            continue
        assert run.data.tags["mlflow.parentRunId"] == by_folder[folder.parent].info.run_id
        record = json.loads((folder / "run.json").read_text())
        images = client.list_artifacts(run.info.run_id, "images")
        steps = min(store.canvas_steps, len(record["frames"]))
        assert len(images) == 2 * steps  # each with its thumbnail
        artifacts += len(images)
        with (folder / "losses.csv").open(newline="") as file:
            header, *rows = list(csv.reader(file))
        columns = [curve_name(name) for name in header[1:]]
        for key in columns:
            history = client.get_metric_history(run.info.run_id, key)
            logged = sorted({point.step for point in history})
            assert len(history) == len(logged) == min(len(rows), CURVE_POINTS, MOST_POINTS // len(columns))
            assert logged[-1] == int(rows[-1][0])
            points += len(history)
        once = {f"scores/{key}" for key in record["scores"]}
        assert run.data.metrics.keys() == {*columns, *once}
        points += len(once)
    return len(found), points, artifacts
