"""A run directory -> MLflow.

The disk is the truth and MLflow a view of it: everything here is read from the files of a run or
of a sweep, so it can be done again, on old directories too, and nothing is lost when a store is
down. FOLDER/mlflow.json says under which run a folder is tracked. While it is painted, a run gets
what there is so far, and the rest at its end. It counts as logged when its status in the store is
final, because that is set last; one that broke off in between, or whose directory was painted again
since, is replaced as a whole.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nst.errors import NstError
from nst.io.files import format_error
from nst.io.locks import is_locked
from nst.io.text import markdown, markdown_code
from nst.runs.painting import Painting
from nst.runs.record import RunRecord, Status, SweepRecord
from nst.runs.sweep import run_folders
from nst.tracking.artifacts import SWEEP_FILES, copy_known, picture, stage_run, upload
from nst.tracking.client import Store, TrackingUnavailable, connect, open_experiment
from nst.tracking.stored_run import (
    create_run,
    delete_doubles,
    delete_strays,
    find_run,
    known_parent,
    log_batches,
    parent_run,
    write_record,
)
from nst.tracking.summary import summarize
from nst.tracking.tracked import TrackedRun, is_server, serve_command
from nst.tracking.view import RunView, check_names, last_sign, millis, table

if TYPE_CHECKING:  # importing MLflow takes four seconds, so it waits for the first call
    from mlflow.tracking import MlflowClient

LOCAL_SERVER = "http://127.0.0.1:5000"  # where `mlflow ui` serves if not told otherwise


def begin_sweep(sweep_dir: Path, store: Store) -> str:
    """Make the parent run of a sweep, or open the one it has again; return its run id.

    Raises `TrackingUnavailable` when the store does not answer within half a minute.
    """
    with connect(store) as client:
        parent = parent_run(client, sweep_dir.resolve(), store)
        if parent.status != "RUNNING":
            client.update_run(parent.run_id, status="RUNNING")
        return str(parent.run_id)


def watch_run(run_dir: Path, store: Store) -> None:
    """Log what there is so far of a run that is being painted: its losses, and its canvas.

    The run is RUNNING in the store until `log_run` completes it. Raises as that does.
    """
    view = RunView.read(run_dir.resolve())
    kept = TrackedRun.read(view.folder, lenient=True)
    if view.record.status is not Status.RUNNING:
        return
    begun, now = kept.painting == view.record.started and not kept.half, view.painting
    last = -1 if kept.last is None or not begun else kept.last
    if begun and (now is None or now.iteration <= last):
        return
    with tempfile.TemporaryDirectory() as stage:
        with _reading(view.folder):
            steps = view.write_painting(Path(stage), store.canvas_steps, kept.steps if begun else [])
            points = view.points(after=last)
            params = {} if begun else view.params()
        with connect(store) as client:
            if not begun:
                kept = _begin_run(client, view, store)
            replace(kept, half=True).write(view.folder)
            tags = {"mlflow.loggedImages": "True"} if steps and not kept.steps else {}
            if now and kept.last is None:
                tags["mlflow.note.content"] = _note(view, kept.run_id)
            log_batches(client, kept.run_id, tags, params, points)
            if now:
                client.log_artifacts(kept.run_id, stage)
                kept = replace(kept, last=now.iteration, steps=steps)
            kept.write(view.folder)


def _begin_run(client: "MlflowClient", view: RunView, store: Store) -> TrackedRun:
    """Make the run of a folder that is being painted, instead of one of an earlier painting."""
    tags, experiment_id = view.tags(), None
    if (view.folder.parent / SweepRecord.NAME).is_file():
        parent = known_parent(client, view.folder.parent, store)
        tags["mlflow.parentRunId"], experiment_id = parent.run_id, parent.experiment_id
    if known := find_run(client, view.folder):
        client.delete_run(known.info.run_id)
    experiment_id = experiment_id or open_experiment(client, store)
    info = create_run(client, experiment_id, view.started, tags, view.name)
    write_record(view.folder, store, info, half=True)
    if not view.in_sweep:  # whose end looks for those of all its cells
        delete_doubles(client, info, tags)
    return replace(TrackedRun.read(view.folder), half=False, painting=view.record.started)


def log_run(run_dir: Path, store: Store) -> str:
    """Log a run directory, under its sweep's run if it is a cell of one; return its run id.

    What is logged already is not done again: not the run, if all of it is there, nor, if it was logged
    while it was painted, what it has since then. Raises `NstError` when the directory holds no run, and
    `TrackingUnavailable` when the store does not answer within half a minute.
    """
    view = RunView.read(run_dir.resolve())
    tags, kept = view.tags(), TrackedRun.read(run_dir.resolve(), lenient=True)
    with connect(store) as client:
        parent = None
        if (view.folder.parent / SweepRecord.NAME).is_file():
            parent = known_parent(client, view.folder.parent, store)
            tags["mlflow.parentRunId"] = parent.run_id
        known = find_run(client, view.folder)
        same = ("nst.started", "mlflow.parentRunId")
        as_it_is = known is not None and all(known.data.tags.get(tag) == tags.get(tag) for tag in same)
        if known and as_it_is and known.info.status == view.status and not kept.half and not kept.painting:
            return str(known.info.run_id)
        if not as_it_is or kept.half or not kept.painting:
            kept = TrackedRun()  # all of it is to be logged

    with tempfile.TemporaryDirectory() as stage:
        # Everything is read before the run is made: a broken directory leaves nothing behind.
        with _reading(view.folder):
            stage_run(view.folder, Path(stage))
            view.write_canvas_steps(Path(stage), store.canvas_steps, kept.steps)
            params = {} if kept.painting else view.params()
            points = view.points(after=-1 if kept.last is None else kept.last)
            tags |= view.rest()
            for names in (tags, params, {point.key for point in points}):
                check_names(names)
        with connect(store) as client:
            if known and kept.painting:
                info = known.info
                tags = {key: value for key, value in tags.items() if known.data.tags.get(key) != value}
            else:
                experiment_id = parent.experiment_id if parent else open_experiment(client, store)
                if known:
                    client.delete_run(known.info.run_id)
                info = create_run(client, experiment_id, view.started, tags, view.name)
                tags = {}
            # Known from now on: whoever goes on after a failure deletes this one first.
            write_record(view.folder, store, info, half=True)
            tags["mlflow.note.content"] = _note(view, info.run_id)
            log_batches(client, info.run_id, tags, params, points)
            upload(client, info, Path(stage))
            if not kept.painting and not parent:
                delete_doubles(client, info, view.tags())
            client.set_terminated(info.run_id, view.status, view.ended)
            write_record(view.folder, store, info)
            return str(info.run_id)


def end_sweep(sweep_dir: Path, store: Store) -> str:
    """Log the cells that are not logged yet, then the sheets and the table, and end the parent.

    The parent is KILLED when the sweep was interrupted, FINISHED when every cell is, else FAILED.
    Returns its run id. Raises as `log_run` does; for a cell, when all else is done.
    """
    sweep_dir = sweep_dir.resolve()
    sweep = SweepRecord.load(sweep_dir)
    cells = [RunView.read(folder) for folder in painted_cells(sweep_dir)]
    whole, kept, broken = list[RunView](), dict[str, str](), list[NstError]()
    with connect(store) as client:
        parent_run(client, sweep_dir, store)
    for view in cells:
        try:
            kept[str(view.folder)] = log_run(view.folder, store)
            whole.append(view)
        except TrackingUnavailable:
            raise
        except NstError as error:
            broken.append(error)
    with tempfile.TemporaryDirectory() as stage:
        with _reading(sweep_dir):
            copy_known(sweep_dir, SWEEP_FILES, Path(stage))
            (Path(stage) / "cells.json").write_text(json.dumps(table(whole)))
        with connect(store) as client:
            parent = known_parent(client, sweep_dir, store)
            delete_strays(client, parent, kept)
            run_id = str(parent.run_id)
            upload(client, parent, Path(stage))
            summarize(client, run_id, sweep_dir, sweep, whole)
            status = "FINISHED" if all(view.status == "FINISHED" for view in cells) else "FAILED"
            if sweep.interrupted:
                status = "KILLED"
            client.set_terminated(run_id, status, millis(sweep.ended) if sweep.ended else None)
    if broken:
        raise broken[0]
    return run_id


def close_interrupted(folder: Path, store: Store) -> int:
    """Close as KILLED what processes that are gone left RUNNING of what is below `folder`; return how many.

    Those are parents of sweeps, and cells that were being logged; they ended when
    their folder last gave a sign of life. What was not logged of the cells is left to `log_run`. Raises
    `TrackingUnavailable` when the store does not answer.
    """
    folder = folder.resolve()
    with connect(store) as client:
        known = find_run(client, folder)
        experiment = known.info if known else client.get_experiment_by_name(store.experiment)
        if experiment is None:
            return 0
        closed = 0
        for run in client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'"):
            shown = Path(run.data.tags.get("nst.run_dir", ""))
            if shown.is_relative_to(folder) and not is_locked(shown) and not is_locked(shown.parent):
                ended = last_sign(shown, *shown.glob("*")) or None
                client.set_terminated(run.info.run_id, "KILLED", ended)
                closed += 1
        return closed


def run_url(folder: Path, store: Store) -> str:
    """Where to look at a folder that was logged: its address, after the command that serves it if need be.

    Of a sweep that is the list of its experiment's runs, where it is at the top.
    """
    tracked = TrackedRun.load(folder)
    page = tracked.runs_page if (folder / SweepRecord.NAME).is_file() else tracked.page
    if is_server(store.uri):
        return page(store.uri)
    return f"{serve_command(store.uri)}  # then {page(LOCAL_SERVER)}"


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """What cannot be read inside is the folder's fault, where `asking` would take it for the store's."""
    try:
        yield
    except NstError:
        raise
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise NstError(f"{folder}: not logged, {format_error(error, folder)}") from error


def _note(view: RunView, run_id: str) -> str:
    """The run's description: what was said of it, why it has no more, its canvas, where that was painted."""
    source, error = view.record.taken_from, view.record.error
    taken = f"Not painted for this sweep: taken from {markdown_code(str(source))}." if source else None
    why = markdown_code(error) if error else None
    name = Painting.PICTURE if view.painting else "canvas.png"
    parts = (markdown(view.said.notes), taken, why, picture(run_id, view.folder / name))
    return "\n\n".join(filter(None, parts))


def painted_cells(sweep_dir: Path) -> list[Path]:
    """The run directories of a sweep that have a record."""
    return [cell for cell in run_folders(sweep_dir) if (cell / RunRecord.NAME).is_file()]
