"""Batches painted by other processes: the same canvases, and what becomes of a batch whose worker dies."""

import os
import pickle
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.command import Running, command
from support.composing import config
from support.results import children, pixels, record

from nst.errors import NstError
from nst.execution.device import estimated_gflop
from nst.execution.executors.processes import devices_of
from nst.execution.executors.task import batch_tasks, failed_results, finished_result
from nst.execution.plan import cut
from nst.runs.job import Job

SMALL = ["model=vgg16", "model.weights=random", "size=24", "save_every=5", "hardware.device=cpu"]
SMALL += ["tracking=none", "style_layers=conv2_1"]
GRID = ["-m", *SMALL, "optimizer=adam,lbfgs", "seed=0,1"]
GRID += ["hydra.sweep.dir=sweep"]
TWO = "hydra.launcher.devices=[cpu,cpu]"


def job(folder: Path, *overrides: str) -> Job:
    return Job(config(*SMALL, f"outputs={folder}/outputs", *overrides), folder / "run", overrides)


def workers(running: Running) -> list[int]:
    """The processes that a launcher has started, but for those that only watch others."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            told = path.with_name("cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == running.process.pid and b"spawn_main" in told:
            found.append(int(path.parent.name))
    return found


@pytest.mark.e2e
def test_two_workers_paint_the_same_log_it_once_and_are_gone_afterwards(tmp_path: Path) -> None:
    grid = [option for option in GRID if option != "tracking=none"] + [
        "iterations=20",
        "hardware.max_batch=1",
    ]
    running = Running(tmp_path, *grid, TWO, f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
    seen: set[int] = set()
    while running.code() is None:
        seen.update(workers(running))
        time.sleep(0.05)
    ended = running.ended()
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert len(seen) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in seen)
    assert not (tmp_path / "sweep/.painting").exists()
    alone = command(tmp_path, *GRID, "iterations=20", "resume=false", "hydra.sweep.dir=alone")
    assert alone.code == 0
    for cell in map(str, range(4)):
        mine, theirs = (tmp_path / sweep / cell for sweep in ("sweep", "alone"))
        assert (pixels(mine) == pixels(theirs)).all()
        assert (mine / "nst.log").is_file()
    parent, cells = children(tmp_path / "mlflow.db")
    assert parent.info.status == "FINISHED"
    asked = sorted((cell.data.params["optimizer.name"], cell.data.params["seed"]) for cell in cells)
    assert asked == [("adam", "0"), ("adam", "1"), ("lbfgs", "0"), ("lbfgs", "1")]
    assert {cell.info.status for cell in cells} == {"FINISHED"}


@pytest.mark.e2e
def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    running = Running(tmp_path, *GRID, "iterations=400", "save_every=50", "hardware.checkpoint=0.1", TWO)
    running.until(lambda: list((tmp_path / "outputs/.batches").glob("*/state.safetensors")))
    os.kill(workers(running)[0], signal.SIGKILL)
    ended = running.ended()
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert "died (exit code -9); its batch starts again" in ended.err
    for cell in map(str, range(4)):
        assert record(tmp_path / "sweep" / cell)["status"] == "finished"


@pytest.mark.e2e
def test_a_signal_lets_the_workers_keep_their_batches(tmp_path: Path) -> None:
    running = Running(tmp_path, *GRID, "iterations=2000", "save_every=50", TWO)
    runs = [tmp_path / "sweep" / cell for cell in "0123"]
    running.until(lambda: all((run / "content.png").is_file() for run in runs))
    started = workers(running)
    running.send(signal.SIGINT)
    ended = running.ended()
    assert ended.code == 130, ended.err
    assert "Traceback" not in ended.err
    assert [record(run)["status"] for run in runs] == ["interrupted"] * 4
    assert len(list((tmp_path / "outputs/.batches").glob("*/state.safetensors"))) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)


def test_a_batch_task_is_picklable_and_paints_only_what_is_missing(tmp_path: Path) -> None:
    jobs = [
        replace(job(tmp_path, "iterations=2", f"seed={seed}"), folder=tmp_path / str(seed)) for seed in (0, 1)
    ]
    here = Path.cwd()
    try:
        [task] = batch_tasks([jobs])
        task = pickle.loads(pickle.dumps(task))
        assert [result.error for result in task()] == [None, None]
        before = {seed: record(tmp_path / seed)["started"] for seed in "01"}
        (tmp_path / "1/run.json").unlink()
        assert [result.error for result in task()] == [None, None]
    finally:
        os.chdir(here)
    assert record(tmp_path / "0")["started"] == before["0"]
    assert record(tmp_path / "1")["started"] > before["1"]
    assert finished_result(jobs[0], "9999") is None  # of another time
    (tmp_path / "1/run.json").unlink()
    results = failed_results(task, "its worker died")
    assert [result.error for result in results] == [None, "its worker died"]
    assert record(tmp_path / "1")["error"] == "its worker died"


def test_a_worker_with_another_network_than_the_launcher_does_not_paint(tmp_path: Path) -> None:
    [task] = batch_tasks([[job(tmp_path, "iterations=2")]])
    assert task.network == "vgg16"
    here = Path.cwd()
    try:
        [result] = replace(task, network="vgg19")()
    finally:
        os.chdir(here)
    assert result.error == record(tmp_path / "run")["error"]
    assert str(result.error).startswith(
        "model=vgg16: this worker has the weights of vgg16 only, and the sweep"
    )
    assert not (tmp_path / "run/canvas.png").exists()


def test_what_workers_need_to_see_is_named(tmp_path: Path) -> None:
    paths = job(tmp_path, "images.content=c.png", f"model.weights={tmp_path}/w.safetensors").paths()
    assert paths[0] == str(Path("c.png").resolve())
    assert paths[2:] == [str(tmp_path / "w.safetensors"), str(tmp_path)]


def test_batches_let_all_workers_end_together(tmp_path: Path) -> None:
    jobs = [job(tmp_path, f"seed={seed}", "optimizer=adam") for seed in range(15)]
    jobs += [job(tmp_path, f"seed={seed}", "optimizer=lbfgs") for seed in range(3)]
    assert [len(batch) for batch in cut(jobs, 1, lambda some: 99)] == [15, 3]
    assert [len(batch) for batch in cut(jobs, 2, lambda some: 99)] == [9, 6, 3]
    assert [len(batch) for batch in cut(jobs, 4, lambda some: 4)] == [3, 3, 3, 3, 3, 3]
    costs = [
        sum(estimated_gflop(one.config) for one in task.jobs)
        for task in batch_tasks(cut(jobs, 2, lambda some: 99))
    ]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("all", "devices=all: this machine has no CUDA device; give [cpu,cpu]"),
        (["cuda:7"], "devices=cuda:7: no such device here"),
        ("cpu", "devices=cpu: give all, or a list"),
        ([], "devices=[]: give all, or a list"),
    ],
    ids=str,
)
def test_devices_that_are_not_there(
    wanted: str | list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(NstError) as caught:
        devices_of(wanted)
    assert says in str(caught.value)
