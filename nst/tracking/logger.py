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
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from nst.errors import NstError
from nst.io.files import atomic_copy, final_name, format_error, is_regular
from nst.io.locks import is_locked
from nst.io.text import markdown, markdown_code
from nst.runs.description import Description
from nst.runs.painting import Painting
from nst.runs.reader import read_run
from nst.runs.record import OUTPUT_FILES, RunRecord, Status, SweepRecord
from nst.runs.study_record import StudyRecord
from nst.runs.sweep import run_folders
from nst.runs.verdict_record import VerdictRecord
from nst.tracking.client import (
    LOCK_SECONDS,
    Store,
    TrackingUnavailable,
    absolute_uri,
    checked_id,
    connect,
    local_path,
    open_experiment,
)
from nst.tracking.tracked import TrackedRun, is_server, serve_command
from nst.tracking.view import Point, RunView, best, check_names, last_sign, millis, shared, table, tags_of

if TYPE_CHECKING:  # importing MLflow takes four seconds, so it waits for the first call
    from mlflow.entities import Run, RunInfo
    from mlflow.tracking import MlflowClient

LOCK = ".mlflow.lock"
# What is sent of a folder: what we wrote there, and nothing else that may lie in it.
CONFIG = (".hydra/config.yaml", ".hydra/overrides.yaml", ".hydra/hydra.yaml")
RUN_FILES = (*OUTPUT_FILES, *CONFIG, RunRecord.NAME, "nst.log")
SHEETS = ("sheet.png", "sheet.mp4", "sheet.webp", "front.png", "index.html")
STUDY_FILES = (StudyRecord.NAME, VerdictRecord.NAME, "verdict.png")
SWEEP_FILES = (*SHEETS, *STUDY_FILES, SweepRecord.NAME, "search.json", "multirun.yaml")
ENTITIES_A_CALL = 1000
PARAMS_A_CALL = 100  # and as many tags
LONGEST_PARAM = 6000
LONGEST_TAG = 5000
LOCAL_SERVER = "http://127.0.0.1:5000"  # where `mlflow ui` serves if not told otherwise


def begin_sweep(sweep_dir: Path, store: Store) -> str:
    """Make the parent run of a sweep, or open the one it has again; return its run id.

    Raises `TrackingUnavailable` when the store does not answer within half a minute.
    """
    with connect(store) as client:
        parent = _parent(client, sweep_dir.resolve(), store)
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
            _log_batches(client, kept.run_id, tags, params, points)
            if now:
                client.log_artifacts(kept.run_id, stage)
                kept = replace(kept, last=now.iteration, steps=steps)
            kept.write(view.folder)


def _begin_run(client: "MlflowClient", view: RunView, store: Store) -> TrackedRun:
    """Make the run of a folder that is being painted, instead of one of an earlier painting."""
    tags, experiment_id = view.tags(), None
    if (view.folder.parent / SweepRecord.NAME).is_file():
        parent = _parent(client, view.folder.parent, store)
        tags["mlflow.parentRunId"], experiment_id = parent.run_id, parent.experiment_id
    if known := _known(client, view.folder):
        client.delete_run(known.info.run_id)
    experiment_id = experiment_id or open_experiment(client, store)
    info = _create_run(client, experiment_id, view.started, tags, view.name)
    _write_record(view.folder, store, info, half=True)
    _delete_others(client, info, tags)
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
            parent = _parent(client, view.folder.parent, store)
            tags["mlflow.parentRunId"] = parent.run_id
        known = _known(client, view.folder)
        same = ("nst.started", "mlflow.parentRunId")
        as_it_is = known is not None and all(known.data.tags.get(tag) == tags.get(tag) for tag in same)
        if known and as_it_is and known.info.status == view.status and not kept.half and not kept.painting:
            return str(known.info.run_id)
        if not as_it_is or kept.half or not kept.painting:
            kept = TrackedRun()  # all of it is to be logged

    with tempfile.TemporaryDirectory() as stage:
        # Everything is read before the run is made: a broken directory leaves nothing behind.
        with _reading(view.folder):
            _copy_known(view.folder, RUN_FILES, Path(stage))
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
                info = _create_run(client, experiment_id, view.started, tags, view.name)
                tags = {}
            # Known from now on: whoever goes on after a failure deletes this one first.
            _write_record(view.folder, store, info, half=True)
            tags["mlflow.note.content"] = _note(view, info.run_id)
            _log_batches(client, info.run_id, tags, params, points)
            client.log_artifacts(info.run_id, stage)
            if not kept.painting:
                _delete_others(client, info, view.tags())
            client.set_terminated(info.run_id, view.status, view.ended)
            _write_record(view.folder, store, info)
            return str(info.run_id)


def end_sweep(sweep_dir: Path, store: Store) -> str:
    """Log the cells that are not logged yet, then the sheets and the table, and end the parent.

    The parent is KILLED when the sweep was interrupted, FINISHED when every cell is, else FAILED.
    Returns its run id. Raises as `log_run` does; for a cell, when all else is done.
    """
    sweep_dir = sweep_dir.resolve()
    sweep = SweepRecord.load(sweep_dir)
    cells = [RunView.read(folder) for folder in painted_cells(sweep_dir)]
    whole, broken = list[RunView](), list[NstError]()
    for view in cells:
        try:
            log_run(view.folder, store)
            whole.append(view)
        except TrackingUnavailable:
            raise
        except NstError as error:
            broken.append(error)
    with tempfile.TemporaryDirectory() as stage:
        with _reading(sweep_dir):
            _copy_known(sweep_dir, SWEEP_FILES, Path(stage))
            (Path(stage) / "cells.json").write_text(json.dumps(table(whole)))
        with connect(store) as client:
            parent = _parent(client, sweep_dir, store)
            run_id = str(parent.run_id)
            client.log_artifacts(run_id, stage)
            _summarize(client, run_id, sweep_dir, sweep, whole)
            status = "FINISHED" if all(view.status == "FINISHED" for view in cells) else "FAILED"
            if sweep.interrupted:
                status = "KILLED"
            client.set_terminated(run_id, status, millis(sweep.ended) if sweep.ended else None)
    if broken:
        raise broken[0]
    return run_id


def _summarize(
    client: "MlflowClient", run_id: str, sweep_dir: Path, sweep: SweepRecord, cells: list[RunView]
) -> None:
    """Give a sweep's run what its cells have in common, the scores of the best, a verdict, a description."""
    there, winner = client.get_run(run_id).data, best(cells)
    verdict = VerdictRecord.read(sweep_dir, lenient=True)
    # A param cannot be changed, and a folder of files keeps the same value twice.
    claim = {"study.claim": verdict.claim, "study.source": verdict.source} if verdict.verdict else {}
    params = {key: value for key, value in (shared(cells) | claim).items() if key not in there.params}
    scores = {f"scores/{key}": value for key, value in winner.record.scores.items()} if winner else {}
    scores |= _numbers(verdict)
    ended = winner.ended if winner else millis(sweep.ended or sweep.started)
    points = [Point(key, value, ended, 0) for key, value in scores.items() if there.metrics.get(key) != value]
    said = Description.of(cell.run for cell in cells)
    parts = (
        markdown(said.notes),
        markdown(sweep.title or ""),
        markdown(verdict.text) if verdict.verdict else "",
        _picture(run_id, sweep_dir / "verdict.png"),
        markdown_code(sweep.command),
        f"Best of both scores: {markdown(winner.short)}" if winner and len(cells) > 1 else "",
        _picture(run_id, sweep_dir / "sheet.png"),
    )
    tags = {"mlflow.note.content": "\n\n".join(filter(None, parts))}
    if winner:
        tags["nst.best"] = winner.short
    if verdict.verdict:
        tags["nst.verdict"] = verdict.verdict
        tags["nst.partial"] = str(verdict.partial).lower()
    _log_batches(client, run_id, tags, params, points)


def _numbers(verdict: VerdictRecord) -> dict[str, float]:
    """The metrics of a verdict; none where there is no verdict."""
    if not verdict.verdict:
        return {}
    found: dict[str, float | None] = {"verdict/p": verdict.p}
    for effect in verdict.effects:
        name = f"verdict/{effect.measure.replace(':', '.')}"
        numbers = {"": effect.effect, "/low": effect.low, "/high": effect.high}
        numbers |= {"/pairs": len(effect.pairs), "/agree": effect.agree}
        found |= {f"{name}{part}": value for part, value in numbers.items()}
    return {key: value for key, value in found.items() if value is not None}


def close_interrupted(folder: Path, store: Store) -> int:
    """Close as KILLED what processes that are gone left RUNNING of what is below `folder`; return how many.

    Those are parents of sweeps, and cells that were being logged; they ended when
    their folder last gave a sign of life. What was not logged of the cells is left to `log_run`. Raises
    `TrackingUnavailable` when the store does not answer.
    """
    folder, path = folder.resolve(), local_path(store.uri)
    if path and not path.exists():
        return 0
    with connect(store) as client:
        known = _known(client, folder)
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


def fetch_run(run_id: str, uri: str, folder: Path) -> None:
    """Download the files of a run directory that was logged into `folder`.

    Raises `NstError` when there is no such run, `TrackingUnavailable` when the store does not answer.
    """
    from mlflow.exceptions import MlflowException

    store = Store(absolute_uri(uri), "", 0)
    path = local_path(uri)
    none = NstError(f"{run_id}: no such folder, and no such run in {uri}; give one of them")
    if path and not path.exists():
        raise none
    with connect(store) as client:
        try:
            checked_id(client.get_run(run_id).info.run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise none from error
        client.download_artifacts(run_id, "", str(folder))


def _parent(client: "MlflowClient", sweep_dir: Path, store: Store) -> "RunInfo":
    """The run of a sweep; made if the store has none."""
    sweep = SweepRecord.load(sweep_dir)
    # Cells may be logged from several processes, each of them the first to need it.
    with FileLock(sweep_dir / LOCK, timeout=LOCK_SECONDS):
        known = _known(client, sweep_dir)
        if known:
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
        info = _create_run(client, experiment_id, millis(sweep.started), tags, name)
        _delete_others(client, info, tags)
        _write_record(sweep_dir, store, info)
        return info


def _create_run(
    client: "MlflowClient", experiment_id: str, started: int, tags: Mapping[str, str], name: str
) -> "RunInfo":
    short = {key: value[:LONGEST_TAG] for key, value in tags.items()}
    return client.create_run(experiment_id, started, short, name).info


def _known(client: "MlflowClient", folder: Path) -> "Run | None":
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


def _write_record(folder: Path, store: Store, info: "RunInfo", half: bool = False) -> None:
    experiment_id, run_id = checked_id(info.experiment_id), checked_id(info.run_id)
    TrackedRun(uri=store.uri, experiment_id=experiment_id, run_id=run_id, half=half).write(folder)


def _delete_others(client: "MlflowClient", info: "RunInfo", tags: dict[str, str]) -> None:
    """Delete what a request that was sent twice, or an attempt of which no record was left, made of
    the same painting.
    """
    started = f"tags.`nst.started` = '{tags['nst.started']}'"
    others = client.search_runs([info.experiment_id], started)
    ids = {run.info.run_id for run in others if run.data.tags["nst.run_dir"] == tags["nst.run_dir"]}
    for run_id in ids - {info.run_id}:
        client.delete_run(run_id)


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
    parts = (markdown(view.said.notes), taken, why, _picture(run_id, view.folder / name))
    return "\n\n".join(filter(None, parts))


def _picture(run_id: str, path: Path) -> str:
    """Markdown that shows an artifact in a run's description; empty if there is no such file."""
    name = final_name(path.name)
    return f"![{name}](get-artifact?path={name}&run_uuid={run_id})" if path.is_file() else ""


def _log_batches(
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


def _copy_known(folder: Path, names: Sequence[str], stage: Path) -> None:
    """Copy those of the named files that are there; no link is followed."""
    for name in names:
        if is_regular(folder / name):
            (stage / name).parent.mkdir(exist_ok=True)
            atomic_copy(folder / name, stage / name)


def painted_cells(sweep_dir: Path) -> list[Path]:
    """The run directories of a sweep that have a record."""
    return [cell for cell in run_folders(sweep_dir) if (cell / RunRecord.NAME).is_file()]
