"""The logger in a process of its own: what comes of its acts, and what becomes of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient
from support.command import Running
from support.processes import children
from support.rundirs import make_run

from nst.errors import NstError
from nst.tracking import logger
from nst.tracking.client import Store, TrackingUnavailable
from nst.tracking.process import LoggingProcess

SMALL = ["model=vgg16", "model.weights=random", "size=24", "save_every=2", "hardware.device=cpu"]
SMALL += ["style_layers=conv1_1"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path}/mlflow.db", "apart", canvas_steps=2)


@pytest.fixture
def process(store: Store) -> Iterator[LoggingProcess]:
    process = LoggingProcess(store)
    yield process
    process.stop()


def loggers(pid: int | None = None) -> list[psutil.Process]:
    """Those that a process has started; this one if not said."""
    return children("tracking", pid)


def gone(pid: int, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not psutil.pid_exists(pid)


@pytest.mark.e2e
def test_it_logs_says_what_is_wrong_and_is_replaced_when_it_dies(
    process: LoggingProcess, store: Store, tmp_path: Path
) -> None:
    runs = [make_run(tmp_path / name, overrides=["seed=1"], size=8) for name in "ab"]
    process.perform(logger.log_run, runs[0])
    [child] = loggers()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        child.send_signal(number)  # they are for the process that paints
    (runs[1] / "canvas.png").rename(tmp_path / "kept.png")
    with pytest.raises(NstError, match=r"canvas\.png: No such file") as broken:
        process.perform(logger.log_run, runs[1])
    assert not isinstance(broken.value, TrackingUnavailable)
    other = LoggingProcess(Store("sqlite:////proc/none/mlflow.db", "apart", 2))
    with pytest.raises(TrackingUnavailable, match="nothing is lost"):
        other.perform(logger.log_run, runs[0])
    other.stop()
    assert loggers() == [child]
    child.kill()
    (tmp_path / "kept.png").rename(runs[1] / "canvas.png")
    with pytest.raises(
        TrackingUnavailable, match=r"the process that logs died \(exit code -9\); nothing is lost"
    ):
        process.perform(logger.log_run, runs[1])
    process.perform(logger.log_run, runs[1])
    [replaced] = loggers()
    logged = MlflowClient(store.uri).search_runs(["1"])
    assert {run.data.tags["nst.run_dir"] for run in logged} == {str(run) for run in runs}
    process.stop()
    assert gone(replaced.pid)
    process.perform(logger.log_run, runs[0])  # at the end of a program nobody waits for it


@pytest.mark.e2e
def test_it_ends_with_the_process_that_started_it_however_that_ends(store: Store) -> None:
    program = (
        "import time; from nst.tracking.client import Store\n"
        "from nst.tracking.process import LoggingProcess\n"
        f"process = LoggingProcess({store!r}); process.start(); print(process.pid, flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout
        child = int(started.stdout.readline())
        assert psutil.pid_exists(child)
        started.kill()
    assert gone(child)


@pytest.mark.e2e
def test_ctrl_c_closes_the_sweep_in_the_store(store: Store, tmp_path: Path) -> None:
    grid = ["-m", *SMALL, "optimizer=adam", "seed=0,1", "iterations=4000", f"tracking.uri={store.uri}"]
    running = Running(tmp_path, *grid, "hydra.sweep.dir=sweep", fresh=True)
    running.until((tmp_path / "sweep/mlflow.json").is_file)
    [child] = loggers(running.process.pid)
    running.send(signal.SIGINT)  # to all of its group, as a terminal does
    ended = running.ended()
    assert (ended.code, "Traceback" in ended.err) == (130, False), ended.err
    assert gone(child.pid)
    assert {run.info.status for run in MlflowClient(store.uri).search_runs(["1"])} == {"KILLED"}
    assert os.path.exists(tmp_path / "sweep/0/canvas.png")


def test_a_process_that_cannot_be_started_costs_no_painting(
    process: LoggingProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    process.start()
    with pytest.raises(OSError, match="No such file"):  # which `BackgroundTracker` makes a warning of
        process.perform(logger.log_run, tmp_path)
