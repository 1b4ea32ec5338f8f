"""A run directory -> MLflow.

The disk is the truth and MLflow a view of it: everything here is read from the files of a run or
of a sweep after it was painted, so it can be done again, on old directories too, and nothing is
lost when a store is down. FOLDER/mlflow.json says under which run a folder is tracked. A run
counts as logged when its status in the store is final, because that is set last; one that was
interrupted, or whose directory was painted again since, is replaced as a whole.

    python -m nst.tracking outputs/…    logs what is not there yet, without doubles
"""

import argparse
import json
import logging
import os
import shlex
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from nst.errors import NstError
from nst.files import write_whole
from nst.run_view import Point, RunView, millis, read_json, table

if TYPE_CHECKING:  # importing MLflow takes four seconds, so it waits for the first call
    from mlflow.entities import Run, RunInfo
    from mlflow.tracking import MlflowClient

RECORD = "mlflow.json"
LOCK = ".mlflow.lock"
LOCK_SECONDS = 30
ENTITIES_A_CALL = 1000
LONGEST_PARAM = 6000



def begin_sweep(sweep_dir: Path, store: Store) -> str:
    """Make the parent run of a sweep, or open the one it has again; return its run id.

    Raises `TrackingUnavailable` when the store does not answer within half a minute.
    """
    with asking(store) as client:
        parent = _parent(client, sweep_dir.resolve(), store)
        if parent.status != "RUNNING":
            client.update_run(parent.run_id, status="RUNNING")
        return str(parent.run_id)


def log_run(run_dir: Path, store: Store) -> str:
    """Log a run directory, under its sweep's run if it is a cell of one; return its run id.

    Nothing is sent when it is there already. Raises `NstError` when it is not a run directory,
    `TrackingUnavailable` when the store does not answer.
    """
    view = RunView.read(run_dir.resolve())
    tags = view.tags()
    with asking(store) as client:
        sweep_dir = view.folder.parent
        parent = None
        if (sweep_dir / "sweep.json").is_file():
            parent = _parent(client, sweep_dir, store)
            tags["mlflow.parentRunId"] = parent.run_id
        known = _known(client, view.folder)
        if known and known.info.status == view.status:
            same = ("nst.started", "mlflow.parentRunId")
            if all(known.data.tags.get(tag) == tags.get(tag) for tag in same):
                return str(known.info.run_id)

        with tempfile.TemporaryDirectory() as stage:
            # Everything is read before the run is made: a broken directory leaves nothing behind.
            others = shutil.ignore_patterns(RECORD, ".*-*")  # the latter were never completed
            shutil.copytree(view.folder, stage, ignore=others, dirs_exist_ok=True)
            view.write_canvas_steps(Path(stage), store.canvas_steps)
            params, points = view.params(), view.points()

            experiment_id = parent.experiment_id if parent else experiment(client, store)
            info = client.create_run(experiment_id, view.started, tags, view.name).info
            note = view.record.get("error") or _picture(info.run_id, view.folder / "canvas.png")
            _log_batches(client, info.run_id, note, params, points)
            client.log_artifacts(info.run_id, stage)
        _delete_others(client, info, tags, known)
        client.set_terminated(info.run_id, view.status, view.ended)
        _write_record(view.folder, store, info)
        return str(info.run_id)


def end_sweep(sweep_dir: Path, store: Store) -> str:
    """Log the cells that are not logged yet, then the sheets and the table, and end the parent.

    The parent is FINISHED when every cell is, else FAILED. Returns its run id. Raises as
    `log_run` does.
    """
    sweep_dir = sweep_dir.resolve()
    sweep = read_json(sweep_dir / "sweep.json")
    cells = [RunView.read(path.parent) for path in sweep_dir.glob("*/run.json")]
    cells.sort(key=lambda view: (len(view.folder.name), view.folder.name))  # 2 before 10
    for view in cells:
        log_run(view.folder, store)
    with asking(store) as client, tempfile.TemporaryDirectory() as stage:
        run_id = _parent(client, sweep_dir, store).run_id
        for path in sweep_dir.iterdir():
            if path.is_file() and path.name not in (RECORD, LOCK):
                shutil.copy2(path, stage)
        (Path(stage) / "cells.json").write_text(json.dumps(table(cells)))
        client.log_artifacts(run_id, stage)
        picture = _picture(run_id, sweep_dir / "sheet.png")
        client.set_tag(run_id, "mlflow.note.content", f"`{sweep['command']}`\n\n{picture}")
        status = "FINISHED" if all(view.status == "FINISHED" for view in cells) else "FAILED"
        ended = sweep.get("ended")
        client.set_terminated(run_id, status, millis(ended) if ended else None)
        return str(run_id)


def run_url(folder: Path, store: Store) -> str:
    """Where to look at a folder that was logged: its address, or the command that serves it."""
    path = sqlite_path(store)
    if path:
        uri = shlex.quote(f"sqlite:///{path}")
        return f"mlflow ui --host 127.0.0.1 --backend-store-uri {uri}"
    record = read_json(folder / RECORD)
    place = f"#/experiments/{record['experiment_id']}/runs/{record['run_id']}"
    # MLflow's page is else laid out for language models.
    return f"{store.uri.rstrip('/')}/{place}?workflowType=machine_learning"


def fetch_run(run_id: str, uri: str, folder: Path) -> None:
    """Download the files of a run directory that was logged into `folder`.

    Raises `NstError` when there is no such run, `TrackingUnavailable` when the store does not answer.
    """
    from mlflow.exceptions import MlflowException

    store = Store(uri, "", 0)
    path = sqlite_path(store)
    none = NstError(f"{run_id}: no such folder, and no such run in {uri}; give one of them")
    if path and not path.exists():
        raise none
    with asking(store) as client:
        try:
            client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise none from error
        client.download_artifacts(run_id, "", str(folder))


def _parent(client: "MlflowClient", sweep_dir: Path, store: Store) -> "RunInfo":
    """The run of a sweep; made if the store has none."""
    sweep = read_json(sweep_dir / "sweep.json")
    # Cells may be logged from several processes, each of them the first to need it.
    with FileLock(sweep_dir / LOCK, timeout=LOCK_SECONDS):
        known = _known(client, sweep_dir)
        if known:
            return known.info
        experiment_id = experiment(client, store)
        tags = {
            "nst.run_dir": str(sweep_dir),
            "nst.started": sweep["started"],
            "nst.command": sweep["command"],
            "mlflow.loggedArtifacts": json.dumps([{"path": "cells.json", "type": "table"}]),
        }
        info = client.create_run(
            experiment_id, start_time=millis(sweep["started"]), tags=tags, run_name=sweep["name"]
        ).info
        _delete_others(client, info, tags, None)
        _write_record(sweep_dir, store, info)
        return info


def _known(client: "MlflowClient", folder: Path) -> "Run | None":
    """The run that the folder's record names, if this store has it."""
    from mlflow.exceptions import MlflowException

    if not (folder / RECORD).is_file():
        return None
    try:
        # By its id alone: one store may be known under several addresses.
        run = client.get_run(read_json(folder / RECORD)["run_id"])
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None


def _write_record(folder: Path, store: Store, info: "RunInfo") -> None:
    record = {"uri": store.uri, "experiment_id": info.experiment_id, "run_id": info.run_id}
    with write_whole(folder / RECORD) as path:
        path.write_text(json.dumps(record, indent=2))


def _delete_others(
    client: "MlflowClient", info: "RunInfo", tags: dict[str, str], known: "Run | None"
) -> None:
    """Delete what the run takes the place of: the one known until now, if it shows this folder,
    and what interrupted attempts, or a request that was sent twice, left of the same painting.
    """
    started = f"tags.`nst.started` = '{tags['nst.started']}'"
    others = [*client.search_runs([info.experiment_id], started), *([known] if known else [])]
    ids = {run.info.run_id for run in others if run.data.tags["nst.run_dir"] == tags["nst.run_dir"]}
    for run_id in ids - {info.run_id}:
        client.delete_run(run_id)


def _picture(run_id: str, path: Path) -> str:
    """Markdown that shows an artifact in a run's description; empty if there is no such file."""
    address = f"get-artifact?path={path.name}&run_uuid={run_id}"
    return f"![{path.name}]({address})" if path.is_file() else ""


def _log_batches(
    client: "MlflowClient", run_id: str, note: str, params: dict[str, str], points: list[Point]
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    tags = [RunTag("mlflow.note.content", note)]
    entities = [Param(key, value[:LONGEST_PARAM]) for key, value in params.items()]
    metrics = [Metric(point.key, point.value, point.millis, point.step) for point in points]
    first = ENTITIES_A_CALL - len(entities) - len(tags)
    client.log_batch(run_id, metrics[:first], entities, tags)
    for start in range(first, len(metrics), ENTITIES_A_CALL):
        client.log_batch(run_id, metrics[start : start + ENTITIES_A_CALL])


def main() -> None:
    """Log a run or a sweep directory that is not in the store yet."""
    parser = argparse.ArgumentParser(prog="python -m nst.tracking", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    default = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"
    parser.add_argument("--uri", default=default, help="default: %(default)s")
    parser.add_argument("--experiment", default="neural-style-transfer", help="default: %(default)s")
    parser.add_argument("--canvas-steps", type=int, default=20, help="default: %(default)s")
    given = parser.parse_args()
    store = Store(given.uri, given.experiment, given.canvas_steps)
    try:
        log = end_sweep if (given.folder / "sweep.json").is_file() else log_run
        log(given.folder, store)
        print(run_url(given.folder, store))
    except NstError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
