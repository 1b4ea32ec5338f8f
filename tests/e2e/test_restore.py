"""`python -m nst.tracking FOLDER`: whole folders of runs and sweeps, into a store that has lost them."""

import json
import os
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from support.command import Ended
from support.forked import python
from support.rundirs import make_collection, make_run, make_sweep

from nst.report.build import rebuild
from nst.tracking.command import configured_store
from nst.tracking.logger import end_sweep, log_run

JOBS = [["optimizer=adam", "content_layers=conv1_1"], ["optimizer=lbfgs", "content_layers=conv4_1"]]


def tracking(*arguments: str | Path) -> Ended:
    return Ended(*python(["-m", "nst.tracking", *map(str, arguments)], Path.cwd(), dict(os.environ)))


def uri_in(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def tracked_at(folder: Path, experiment: str) -> dict[str, Any]:
    """A config whose runs are tracked in `folder`."""
    return {"tracking": {"uri": uri_in(folder), "experiment": experiment, "canvas_steps": 3}}


def packed(files: dict[str, bytes]) -> list[str]:
    """The names in the archive of a run."""
    return ZipFile(BytesIO(files["run.zip"])).namelist() if "run.zip" in files else []


def everything(store: Path, downloads: Path) -> dict[tuple[str, str], Any]:
    """All that a store holds, by experiment and directory; ids as what they stand for."""
    # MLflow goes on reading a database that was deleted: by another name it opens the one that is there.
    downloads.mkdir()
    (downloads / "store").symlink_to(store)
    client = MlflowClient(uri_in(downloads / "store"))
    experiments = {found.experiment_id: found.name for found in client.search_experiments()}
    runs = client.search_runs(list(experiments), run_view_type=ViewType.ALL)
    places = {run.info.run_id: run.data.tags["nst.run_dir"] for run in runs}
    found = {}
    for run in runs:
        run_id = run.info.run_id
        (downloads / run_id).mkdir()
        at = Path(client.download_artifacts(run_id, "", str(downloads / run_id)))
        files = {str(path.relative_to(at)): path.read_bytes() for path in at.rglob("*") if path.is_file()}
        tags = dict(run.data.tags)
        tags["mlflow.note.content"] = tags["mlflow.note.content"].replace(run_id, "ID")
        if "mlflow.parentRunId" in tags:
            tags["mlflow.parentRunId"] = places[tags["mlflow.parentRunId"]]
        history = {
            key: sorted((point.step, point.value, point.timestamp) for point in points)
            for key in run.data.metrics
            if (points := client.get_metric_history(run_id, key))
        }
        info = (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time)
        key = (experiments[run.info.experiment_id], places[run_id])
        assert key not in found  # no doubles
        found[key] = [*info, run.info.lifecycle_stage, run.data.params, tags, history, files]
    return found


def test_a_store_that_was_deleted_is_given_back(tmp_path: Path) -> None:
    outputs, store = tmp_path / "outputs", tmp_path / "store"
    config = tracked_at(store, "paintings")
    sweep = make_sweep(outputs / "readme/noise_adam/monday", "readme/noise_adam", JOBS, config=config)
    make_run(sweep / "10", overrides=["seed=7"], status="failed", config=config)
    make_run(sweep / "11", overrides=["seed=8"], status="running", config=config)
    grids = {"readme/a": JOBS[:1], "readme/b": JOBS[1:]}
    both = make_collection(outputs / "sweeps/tuesday", grids, config=config)
    single = make_run(outputs / "runs/wednesday", overrides=[], config=tracked_at(store, "sketches"))
    for folder in (sweep, both):
        rebuild(folder)
    for folder in (sweep, both / "readme/a", both / "readme/b"):
        end_sweep(folder, configured_store(folder))
    log_run(single, configured_store(single))
    before = everything(store, tmp_path / "before")
    assert len(before) == 5 + 2 * 2 + 1
    assert {experiment for experiment, _ in before} == {"paintings", "sketches"}
    assert {"sheet.webp", "index.html", "cells.json"} <= before["paintings", str(sweep)][-1].keys()
    assert "losses.png" in packed(before["paintings", str(sweep / "0")][-1])

    shutil.rmtree(store)
    done = tracking(outputs)
    assert (done.code, done.err) == (0, "")
    *folders, count, paintings, sketches = done.out.splitlines()
    assert folders == [
        f"{sweep}: 4 logged, 0 there already",
        f"{single}: 1 logged, 0 there already",
        f"{both}/readme/a: 1 logged, 0 there already",
        f"{both}/readme/b: 1 logged, 0 there already",
    ]
    assert count == "7 runs logged, 0 there already"
    for where in (paintings, sketches):
        served, _, address = where.partition("  # then ")
        assert served == f"mlflow ui --host 127.0.0.1 --backend-store-uri {uri_in(store)}"
        assert address.startswith("http://127.0.0.1:5000/#/experiments/")
    assert everything(store, tmp_path / "after") == before

    again = tracking(outputs)
    assert "0 runs logged, 7 there already" in again.out.splitlines()
    assert everything(store, tmp_path / "again") == before


def test_taken_runs_are_each_their_own(tmp_path: Path) -> None:
    """Three directories with one painting: where it was painted, a sweep that took it, a plain copy."""
    config = tracked_at(tmp_path / "store", "nst")
    painted = make_sweep(tmp_path / "painted", "readme/a", JOBS, config=config)
    parents = {painted: end_sweep(painted, configured_store(painted))}
    copied, taken = tmp_path / "copied", tmp_path / "taken"
    shutil.copytree(painted, copied)  # with the records of where the first is logged
    shutil.copytree(painted, taken, ignore=shutil.ignore_patterns("*.json"))
    shutil.copy(painted / "sweep.json", taken)
    for name in "01":
        record = json.loads((painted / name / "run.json").read_text())
        record["taken_from"] = str(painted / name)
        (taken / name / "run.json").write_text(json.dumps(record))
    for folder in (taken, copied):
        parents[folder] = end_sweep(folder, configured_store(folder))

    client = MlflowClient(uri_in(tmp_path / "store"))
    [experiment] = [found.experiment_id for found in client.search_experiments() if found.name == "nst"]
    runs = {Path(run.data.tags["nst.run_dir"]): run for run in client.search_runs([experiment])}
    assert len(runs) == len(client.search_runs([experiment])) == 3 * 3
    for folder, parent in parents.items():
        assert runs[folder].info.run_id == parent
        for name in "01":
            tags = runs[folder / name].data.tags
            assert tags["mlflow.parentRunId"] == parent
            assert tags.get("nst.taken_from") == (str(painted / name) if folder == taken else None)
            line = f"Not painted for this sweep: taken from `{painted / name}`."
            assert (line in tags["mlflow.note.content"]) == (folder == taken)
    assert (
        len({run.data.tags["nst.identity"] for run in runs.values() if "nst.identity" in run.data.tags}) == 2
    )

    cells = Path(client.download_artifacts(parents[taken], "cells.json", str(tmp_path)))
    table = json.loads(cells.read_text())
    assert table["columns"][-1] == "taken_from"
    assert [row[-1] for row in table["data"]] == [str(painted / "0"), str(painted / "1")]


def test_a_folder_that_was_moved_keeps_its_runs(tmp_path: Path) -> None:
    config = tracked_at(tmp_path / "store", "nst")
    sweep = make_sweep(tmp_path / "here", "readme/a", JOBS, config=config)
    there = tmp_path / "there"
    run_id = end_sweep(sweep, configured_store(sweep))
    sweep.rename(there)
    assert end_sweep(there, configured_store(there)) == run_id
    found = everything(tmp_path / "store", tmp_path / "downloads")
    assert found.keys() == {("nst", str(folder)) for folder in (there, there / "0", there / "1")}


def test_files_that_are_not_complete_are_not_sent(tmp_path: Path) -> None:
    config = tracked_at(tmp_path / "store", "nst")
    sweep = make_sweep(tmp_path / "sweep", "readme/a", JOBS[:1], config=config)
    for half in (sweep / ".sheet-a1b2c3.mp4", sweep / "0/.canvas-a1b2c3.mp4", sweep / "0/.lock"):
        half.write_bytes(b"half a vid")
    end_sweep(sweep, configured_store(sweep))
    found = everything(tmp_path / "store", tmp_path / "downloads")
    names = {name for run in found.values() for name in (*run[-1], *packed(run[-1]))}
    hidden = {name for name in names if "/." in f"/{name}"}
    assert hidden == {f".hydra/{name}.yaml" for name in ("config", "hydra", "overrides")}


def test_runs_go_where_they_were_configured_to_go_or_where_one_says(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", overrides=[], config=tracked_at(tmp_path / "store", "mine"))
    assert configured_store(run).experiment == "mine"
    other = configured_store(run, uri="http://127.0.0.1:1", experiment=None, canvas_steps=7)
    assert (other.uri, other.experiment, other.canvas_steps) == ("http://127.0.0.1:1", "mine", 7)
    # tracking=none is not tracked by itself; asked for, it goes where runs go by default.
    nowhere = {"tracking": {"name": "none", "uri": None, "experiment": "theirs"}}
    sweep = make_sweep(tmp_path / "sweep", "readme/a", JOBS[:1], config=nowhere)
    store = configured_store(sweep)
    assert store.uri.endswith("/mlflow.db")
    assert Path(store.uri.removeprefix("sqlite:///")).is_absolute()
    assert store.experiment == "theirs"


def test_one_broken_folder_does_not_keep_the_others_out(tmp_path: Path) -> None:
    outputs, config = tmp_path / "outputs", tracked_at(tmp_path / "store", "nst")
    for name in "abc":
        make_run(outputs / name, overrides=["seed=1"], config=config)
    (outputs / "a/canvas.mp4").unlink()
    shutil.copy(outputs / "b/canvas.mp4", outputs / "a/canvas.mp4")
    record = json.loads((outputs / "a/run.json").read_text())
    (outputs / "a/run.json").write_text(json.dumps(record | {"frames": [0, 5, 10, 19]}))
    (outputs / "again").symlink_to(outputs / "b")
    done = tracking(outputs)
    assert done.code == 1
    assert done.err == (f"{outputs}/a/canvas.mp4: 3 frames, where run.json names 4; paint the run again\n")
    assert "2 runs logged, 0 there already" in done.out.splitlines()


def test_nothing_to_log_is_one_line(tmp_path: Path) -> None:
    for folder, reason in ((tmp_path / "nowhere", "no such folder"), (tmp_path, "no runs in it")):
        done = tracking(folder)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"{folder}: {reason}; give ")
        assert done.err.count("\n") == 1
