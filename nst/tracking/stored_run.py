"""The runs of a store, by the folders that they show."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from nst.io.text import markdown
from nst.runs.description import Description
from nst.runs.reader import read_run
from nst.runs.record import SweepRecord
from nst.runs.sweep import run_folders
from nst.tracking.client import LOCK_SECONDS, Store, checked_id, open_experiment
from nst.tracking.tracked import TrackedRun
from nst.tracking.view import Point, millis, tags_of

if TYPE_CHECKING:
    from mlflow.entities import Run, RunInfo
    from mlflow.tracking import MlflowClient

LOCK = ".mlflow.lock"
ENTITIES_A_CALL = 1000
PARAMS_A_CALL = 100  # and as many tags
LONGEST_PARAM = 6000
LONGEST_TAG = 5000

_parents: dict[tuple[Path, Store], "RunInfo"] = {}  # of sweeps


def parent_run(client: "MlflowClient", sweep_dir: Path, store: Store) -> "RunInfo":
    """The run of a sweep, as the store has it now; made if there is none."""
    sweep = SweepRecord.load(sweep_dir)
    # Cells may be logged from several processes, each of them the first to need it.
    with FileLock(sweep_dir / LOCK, timeout=LOCK_SECONDS):
        known = find_run(client, sweep_dir)
        if known:
            _parents[sweep_dir, store] = known.info
            return known.info
        experiment_id = open_experiment(client, store)
        said = Description.of(map(read_run, run_folders(sweep_dir)[:1]))
        tags = tags_of(sweep_dir, said) | {
            "nst.started": sweep.started,
            "nst.command": sweep.command,
            "mlflow.note.content": markdown(said.notes),
            "mlflow.loggedArtifacts": json.dumps([{"path": "cells.json", "type": "table"}]),
        }
        tags = {key: str(value) for key, value in tags.items() if value}
        name = said.name or sweep.name
        info = create_run(client, experiment_id, millis(sweep.started), tags, name)
        delete_doubles(client, info, tags)
        write_record(sweep_dir, store, info)
        _parents[sweep_dir, store] = info
        return info


def known_parent(client: "MlflowClient", sweep_dir: Path, store: Store) -> "RunInfo":
    """The same as this process last saw it: its cells ask for it, and need not all ask the store."""
    info = _parents.get((sweep_dir, store))
    if info and info.run_id == TrackedRun.read(sweep_dir, lenient=True).run_id:
        return info
    return parent_run(client, sweep_dir, store)


def create_run(
    client: "MlflowClient", experiment_id: str, started: int, tags: Mapping[str, str], name: str
) -> "RunInfo":
    """Make a run, RUNNING since `started`, in ms since the epoch."""
    short = {key: value[:LONGEST_TAG] for key, value in tags.items()}
    return client.create_run(experiment_id, started, short, name).info


def find_run(client: "MlflowClient", folder: Path) -> "Run | None":
    """The run that the folder's record names, if this store has it and it is the folder's."""
    from mlflow.exceptions import MlflowException

    run_id = TrackedRun.read(folder, lenient=True).run_id
    if not run_id:
        return None
    try:
        # By its id alone: one store may be known under several addresses.
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    if run.info.lifecycle_stage != "active":
        return None
    shown = run.data.tags.get("nst.run_dir")
    if shown != str(folder):
        if shown is None or Path(shown).exists():
            return None  # a copy, record and all, of a folder that has its own run
        client.set_tag(run.info.run_id, "nst.run_dir", str(folder))  # it was moved
        run.data.tags["nst.run_dir"] = str(folder)
    return run


def write_record(folder: Path, store: Store, info: "RunInfo", half: bool = False) -> None:
    """Say in a folder under which run it is tracked; `half` says that not all of it is there."""
    experiment_id, run_id = checked_id(info.experiment_id), checked_id(info.run_id)
    TrackedRun(uri=store.uri, experiment_id=experiment_id, run_id=run_id, half=half).write(folder)


def delete_doubles(client: "MlflowClient", info: "RunInfo", tags: dict[str, str]) -> None:
    """Delete what a request that was sent twice, or an attempt of which no record was left, made of
    the same painting.
    """
    started = f"tags.`nst.started` = '{tags['nst.started']}'"
    others = client.search_runs([info.experiment_id], started)
    ids = {run.info.run_id for run in others if run.data.tags["nst.run_dir"] == tags["nst.run_dir"]}
    for run_id in ids - {info.run_id}:
        client.delete_run(run_id)


def delete_strays(client: "MlflowClient", parent: "RunInfo", kept: Mapping[str, str]) -> None:
    """The same for the cells of a sweep at once: of each folder the run that is `kept` stays."""
    query, token, others = f"tags.`mlflow.parentRunId` = '{parent.run_id}'", None, list[str]()
    while True:
        found = client.search_runs([parent.experiment_id], query, page_token=token)
        for run in found:
            if kept.get(run.data.tags.get("nst.run_dir", ""), run.info.run_id) != run.info.run_id:
                others.append(run.info.run_id)
        token = found.token
        if not token:
            break
    for run_id in others:
        client.delete_run(run_id)


def log_batches(
    client: "MlflowClient",
    run_id: str,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    points: Sequence[Point],
) -> None:
    """Log all of it in as few requests as the limits allow."""
    from mlflow.entities import Metric, Param, RunTag

    every = deque[Any](
        [
            *(RunTag(key, value[:LONGEST_TAG]) for key, value in tags.items()),
            *(Param(key, value[:LONGEST_PARAM]) for key, value in params.items()),
            *(Metric(point.key, point.value, point.millis, point.step) for point in points),
        ]
    )
    while every:
        parts: dict[type, list[Any]] = {RunTag: [], Param: [], Metric: []}
        while every and sum(map(len, parts.values())) < ENTITIES_A_CALL:
            part = parts[type(every[0])]
            if len(part) == PARAMS_A_CALL and part is not parts[Metric]:
                break
            part.append(every.popleft())
        client.log_batch(run_id, parts[Metric], parts[Param], parts[RunTag])
