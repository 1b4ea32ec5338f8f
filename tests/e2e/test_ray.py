"""Ray: a real cluster of two nodes on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.command import Running, command
from support.results import pixels, record

pytest.importorskip("ray", reason="needs ray: pip install '.[ray]'")

SMALL = ["model=vgg16", "model.weights=random", "size=24", "save_every=5", "hardware.device=cpu"]
SMALL += ["optimizer=adam,lbfgs", "seed=0,1", "hydra.sweep.dir=sweep"]
SMALL += ["tracking=none", "hydra/launcher=batched_ray"]

CLUSTER = """
import sys, time
from ray.cluster_utils import Cluster
cluster = Cluster()
nodes = [cluster.add_node(num_cpus=1, include_dashboard=False) for _ in range(2)]
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(nodes.pop(), allow_graceful=False)
    print("removed", flush=True)
cluster.shutdown()
"""


@pytest.fixture
def cluster() -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The address of two nodes of a CPU each, and a process that takes one away for a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        start_new_session=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip(), process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def painting() -> list[int]:
    """The Ray workers that paint."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told = path.read_bytes()
        except OSError:
            continue
        if told.startswith(b"ray::_paint"):
            found.append(int(path.parent.name))
    return found


@pytest.mark.slow
def test_a_killed_worker_and_a_lost_node_cost_nothing(
    cluster: tuple[str, "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    address, manager = cluster
    grid = ["-m", *SMALL, "iterations=300", "hardware.checkpoint=0.2"]
    running = Running(tmp_path, *grid, f"hydra.launcher.address={address}")
    runs = [tmp_path / "sweep" / cell for cell in "0123"]
    running.until(lambda: all((run / "content.png").is_file() for run in runs))
    assert len(painting()) == 2
    os.kill(painting()[0], signal.SIGKILL)
    time.sleep(5)
    assert manager.stdin is not None
    assert manager.stdout is not None
    manager.stdin.write("\n")
    manager.stdin.flush()
    assert manager.stdout.readline() == "removed\n"
    ended = running.ended(400)
    assert (ended.code, ended.errors) == (0, []), ended.err
    inline = [*grid, "hydra/launcher=batched", "hydra.sweep.dir=inline", "resume=false"]
    assert command(tmp_path, *inline).code == 0
    for run in runs:
        assert record(run)["status"] == "finished"
        assert np.abs(pixels(run).astype(int) - pixels(tmp_path / "inline" / run.name)).max() <= 1
    assert "going on from iteration" in "".join((run / "nst.log").read_text() for run in runs)
    assert {"sheet.png", "sheet.mp4", "index.html"} <= {path.name for path in (tmp_path / "sweep").iterdir()}


@pytest.mark.slow
def test_one_of_its_own_on_this_machine(tmp_path: Path) -> None:
    ended = command(tmp_path, "-m", *SMALL, "iterations=3")
    assert (ended.code, ended.errors) == (0, []), ended.err
    ended = command(tmp_path, "-m", *SMALL, "iterations=3", "hydra.launcher.gpus=7", "hydra.sweep.dir=no")
    assert ended.code == 2
    assert "hydra.launcher.gpus=7: no node of the Ray cluster has that many" in ended.errors[0]
    assert not (tmp_path / "no").exists()


def test_an_address_that_does_not_answer(tmp_path: Path) -> None:
    ended = command(tmp_path, "-m", *SMALL, "iterations=3", "hydra.launcher.address=127.0.0.1:1")
    assert ended.code == 2
    [line] = ended.errors
    assert line.startswith("error: hydra.launcher.address=127.0.0.1:1: no Ray cluster answers there")
    assert not list(tmp_path.iterdir())
