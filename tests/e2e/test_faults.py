"""Signals, full disks, files that vanish, too little memory: the real thing each time, and nothing lost."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from support.command import Running, command
from support.disk import remount
from support.forked import python
from support.results import paint_here, pixels, record

from nst.config.paths import ROOT

SMALL = ["model=vgg16", "model.weights=random", "size=24", "save_every=2", "hardware.device=cpu"]
SMALL += ["style_layers=conv2_1"]  # a shallow network is fast
GRID = ["-m", *SMALL, "optimizer=adam", "seed=0,1", "hydra.sweep.dir=sweep"]
LONG = [*GRID, "iterations=400", "save_every=20", "tracking=none"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert command(folder, *LONG).code == 0
    return folder / "sweep"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name)
def test_a_signal_keeps_the_batch_and_the_same_command_goes_on(
    number: signal.Signals, undisturbed: Path, tmp_path: Path
) -> None:
    running = Running(tmp_path, *LONG)
    first, log = tmp_path / "sweep/0", tmp_path / "sweep/0/nst.log"
    running.until((first / "content.png").is_file)
    time.sleep(0.3)
    running.send(number)
    ended = running.ended()
    assert ended.code == 128 + number, ended.err
    assert "Traceback" not in ended.err
    assert ended.err.endswith("the same command goes on with the rest\ninterrupted\n")
    for cell in ("0", "1"):
        found = record(tmp_path / "sweep" / cell)
        assert (found["status"], found["error"]) == ("interrupted", f"interrupted by {number.name}")
        files = {path.name for path in (tmp_path / "sweep" / cell).iterdir()}
        assert {"canvas.png", "canvas.mp4", "losses.csv"} <= files  # as far as it came
    again = command(tmp_path, *LONG)
    assert again.code == 0, again.err
    assert "going on from iteration" in log.read_text()
    for cell in ("0", "1"):
        mine, theirs = tmp_path / "sweep" / cell, undisturbed / cell
        assert (pixels(mine) == pixels(theirs)).all()
        assert (mine / "losses.csv").read_bytes() == (theirs / "losses.csv").read_bytes()


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    # An iteration takes longer than the test waits.
    running = Running(tmp_path, *LONG, "size=512")
    running.until((tmp_path / "sweep/0/content.png").is_file)
    running.send(signal.SIGINT)
    running.until(lambda: "once more stops at once" in running.said())
    running.send(signal.SIGINT)
    ended = running.ended()
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert record(tmp_path / "sweep/0")["status"] == "interrupted"


def test_a_signal_while_python_still_imports(tmp_path: Path) -> None:
    running = Running(tmp_path, *LONG, fresh=True)
    maps = Path(f"/proc/{running.process.pid}/maps")
    running.until(lambda: "libtorch" in maps.read_text())
    running.send(signal.SIGINT)
    assert (running.ended().code, running.said()) == (130, "interrupted\n")


def test_two_sweeps_in_one_folder_and_one_store_get_a_folder_each(tmp_path: Path) -> None:
    store = f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    both = [Running(tmp_path, *GRID, "iterations=3", "resume=false", store) for _ in range(2)]
    ended = [running.ended() for running in both]
    assert [one.code for one in ended] == [0, 0], ended
    sweeps = [tmp_path / "sweep", tmp_path / "sweep-1"]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = {run.data.tags["nst.run_dir"]: run for run in client.search_runs(["1"])}
    assert len(runs) == 2 * (1 + 2)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for sweep in sweeps:
        parent = runs[str(sweep)].info.run_id
        for cell in ("0", "1"):
            assert record(sweep / cell)["status"] == "finished"
            assert runs[str(sweep / cell)].data.tags["mlflow.parentRunId"] == parent


def test_what_a_killed_sweep_left_running_in_mlflow_is_closed_at_the_next_start(tmp_path: Path) -> None:
    store = f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    running = Running(tmp_path, *GRID, "iterations=4000", store, "hydra.sweep.dir=outputs/killed")
    running.until((tmp_path / "outputs/killed/mlflow.json").is_file)
    running.send(signal.SIGKILL)
    assert running.ended().code == -signal.SIGKILL
    [parent] = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"])
    assert parent.info.status == "RUNNING"
    assert command(tmp_path, *SMALL, "iterations=1", store).code == 0
    parent = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_run(parent.info.run_id)
    assert parent.info.status == "KILLED"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 600 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_named_and_the_sweep_goes_on_when_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    grid = ["-m", *SMALL, "size=64", "iterations=3", "seed=range(0,8)", "hardware.max_batch=1"]
    grid += ["outputs=disk", "hydra.sweep.dir=disk/sweep", "tracking=none"]
    ended = command(tmp_path, *grid)
    assert ended.code == 2, ended.err
    [line] = ended.errors
    assert line.startswith(f"error: {small_disk}/sweep: ")
    assert "MiB are free" in line
    assert "run the same command again" in line
    before = {
        run: (run / "canvas.png").read_bytes()
        for run in (small_disk / "sweep").glob("*")
        if run.name.isdecimal() and (run / "run.json").exists() and record(run)["status"] == "finished"
    }
    assert 0 < len(before) < 8
    for run, canvas in before.items():
        assert record(run)["final"]
        assert (run / "canvas.png").read_bytes() == canvas
    remount(small_disk, "size=20m")
    again = command(tmp_path, *grid)
    assert again.code == 0, again.err
    assert f"{len(before)} of 8 cells were painted before" in again.err
    for run, canvas in before.items():
        assert (run / "canvas.png").read_bytes() == canvas


def test_a_read_only_folder_is_named(small_disk: Path, tmp_path: Path) -> None:
    remount(small_disk, "ro")
    for arguments in (["-m", *SMALL, "seed=0,1"], SMALL):
        ended = command(tmp_path, *arguments, "outputs=disk/below", "tracking=none")
        assert ended.code == 2
        [line] = ended.errors
        assert "disk/below: Read-only file system" in line
        assert "outputs=FOLDER" in line


def test_a_run_directory_that_is_removed_fails_alone(undisturbed: Path, tmp_path: Path) -> None:
    running = Running(tmp_path, *LONG)
    bad = tmp_path / "sweep/1"
    running.until((bad / "content.png").is_file)
    time.sleep(0.2)
    shutil.rmtree(bad)
    ended = running.ended()
    assert ended.code == 1, ended.err
    assert "Traceback" not in ended.err
    assert "1 of 2 cells finished" in ended.err
    assert (pixels(tmp_path / "sweep/0") == pixels(undisturbed / "0")).all()


WITH_FEW_FILES = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
del sys.argv[0]
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_cells_that_may_not_open_another_file_fail_alone_and_say_what_to_do(tmp_path: Path) -> None:
    grid = ["-m", *SMALL, "optimizer=adam", "seed=range(0,10)", "hydra.sweep.dir=sweep", "iterations=2"]
    (tmp_path / "limited.py").write_text(WITH_FEW_FILES)
    limited = [str(tmp_path / "limited.py"), str(ROOT / "run.py"), *grid, "tracking=none"]
    known = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "300"}
    code, _, err = python([*limited, "hardware.max_batch=10"], tmp_path, known)
    assert code == 1, err
    assert "Traceback" not in err
    found = [record(tmp_path / "sweep" / str(number)) for number in range(10)]
    failed = [run["error"] for run in found if run["status"] == "failed"]
    assert 0 < len(failed) < 10
    assert {run["status"] for run in found} == {"finished", "failed"}
    assert all(
        "give a smaller hardware.max_batch, or raise the limit (ulimit -n" in error for error in failed
    )
    again = command(tmp_path, *grid, "tracking=none")
    assert again.code == 0, again.err
    assert f"{10 - len(failed)} of 10 cells were painted before" in again.err


IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from support.composing import config
from nst.execution.runner import paint_together
from nst.runs.job import Job

def jobs(folder, seeds):
    every = ["model=vgg16", "model.weights=random", "tracking=none", "hardware.device=cpu"]
    every += [f"outputs={folder}", "images.fit=square", "size=128", "optimizer=adam", "iterations=1"]
    made = [(f"seed={seed}", Path(folder) / str(seed)) for seed in seeds]
    return [Job(config(*every, seed), place, (seed,)) for seed, place in made]

paint_together(jobs(sys.argv[1] + "/alone", [9]))  # what torch keeps for good is there after this
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize"))
limit = used * 1024 + (200 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
results = paint_together(jobs(sys.argv[1] + "/batch", range(8)))
print([result.error for result in results])
"""


def test_a_batch_that_does_not_fit_in_memory_is_halved(tmp_path: Path) -> None:
    (tmp_path / "little.py").write_text(IN_LITTLE_MEMORY)
    _, out, err = python(
        [str(tmp_path / "little.py"), str(tmp_path)], ROOT / "tests", {**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert out == f"{[None] * 8}\n", err
    assert "8 canvases at once need more memory than there is, painting 4" in err
    cell = ["images.fit=square", "size=128", "optimizer=adam", "iterations=1", "seed=5"]
    [alone] = paint_here(tmp_path / "here", cell)
    assert np.abs(pixels(tmp_path / "batch/5").astype(int) - pixels(alone.folder)).max() <= 1
