"""Slurm: a real one of a single node, started for these tests; and its local executor, which CI has too."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import Running, command
from support.mlflow_server import serving
from support.results import pixels, record

from nst.config.paths import ROOT
from nst.tracking.client import Store, connect

SMALL = ["model=vgg16", "model.weights=random", "size=24", "save_every=5", "hardware.device=cpu"]
SMALL += ["optimizer=adam,lbfgs", "seed=0,1", "style_layers=conv2_1", "hydra.sweep.dir=sweep"]
SLURM = ["hydra/launcher=batched_slurm", "hydra.launcher.gpus=0", "hydra.launcher.cpus=1"]
SLURM += ["hydra.launcher.workers=2"]
NODE = os.uname().nodename.partition(".")[0]

real = pytest.mark.skipif(
    shutil.which("slurmctld") is None or os.geteuid() != 0, reason="needs slurm-wlm, munge and root"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    script, place = str(ROOT / "scripts/slurm.sh"), "/tmp/nst-slurm"
    subprocess.run([script, "start"], check=True, capture_output=True, timeout=60)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = f"{place}/slurm.conf"
    yield
    subprocess.run([script, "stop"], check=True, capture_output=True, timeout=60)
    os.environ.pop("SLURM_CONF")
    if before:
        os.environ["SLURM_CONF"] = before


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inline")
    assert command(folder, "-m", *SMALL, "iterations=300", "tracking=none").code == 0
    return folder / "sweep"


def queue() -> list[str]:
    asked = subprocess.run(
        ["squeue", "--noheader", "--format=%i"], capture_output=True, text=True, check=True
    )
    return asked.stdout.split()


def tell(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def same(sweep: Path, other: Path) -> None:
    for cell in map(str, range(4)):
        assert (pixels(sweep / cell) == pixels(other / cell)).all()
    assert {"sheet.png", "sheet.mp4", "index.html"} <= {path.name for path in sweep.iterdir()}


def test_the_local_executor_paints_the_same(tmp_path: Path) -> None:
    few = ["-m", *SMALL, "iterations=4", "tracking=none"]
    ended = command(tmp_path, *few, *SLURM, "hydra.launcher.executor=local")
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert "2 jobs submitted" in ended.err
    assert command(tmp_path, *few, "hydra.sweep.dir=inline", "resume=false").code == 0
    same(tmp_path / "sweep", tmp_path / "inline")


def test_without_slurm_it_is_said_before_anything_is_made(tmp_path: Path) -> None:
    ended = command(tmp_path, "-m", *SMALL, "iterations=4", "tracking=none", *SLURM, PATH="/nowhere")
    assert ended.code == 2
    [line] = ended.errors
    assert line.startswith("error: hydra/launcher=batched_slurm: there is no sbatch on this machine;")
    assert not list(tmp_path.iterdir())


@real
@pytest.mark.slow
def test_a_preempted_job_of_the_array_is_queued_again_and_goes_on(
    cluster: None, inline: Path, tmp_path: Path
) -> None:
    with serving(tmp_path / "server") as server:
        uri = f"tracking.uri={server.uri}"
        running = Running(tmp_path, "-m", *SMALL, "iterations=300", *SLURM, uri)
        sweep = tmp_path / "sweep"
        running.until((sweep / "0/content.png").is_file)
        time.sleep(2)
        [job] = [job for job in queue() if job.endswith("_0")]
        tell("scancel", "--signal=USR2", job)
        running.until(lambda: record(sweep / "0")["status"] == "interrupted")
        time.sleep(2)
        tell("scontrol", "update", f"jobid={job}", "StartTime=now")  # not after the usual two minutes
        ended = running.ended(300)
        assert (ended.code, ended.errors) == (0, []), ended.err
        logs = "".join(path.read_text() for path in sweep.glob("*/nst.log"))
        assert "going on from iteration" in logs
        same(sweep, inline)
        parent = json.loads((sweep / "mlflow.json").read_text())
        with connect(Store(server.uri, "", 0)) as client:
            cells = client.search_runs(
                [parent["experiment_id"]], f"tags.mlflow.parentRunId = '{parent['run_id']}'"
            )
            assert client.get_run(parent["run_id"]).info.status == "FINISHED"
        assert [cell.info.status for cell in cells] == ["FINISHED"] * 4


@real
@pytest.mark.slow
def test_a_drained_node_delays_and_a_cancelled_job_fails_alone(
    cluster: None, inline: Path, tmp_path: Path
) -> None:
    tell("scontrol", "update", f"nodename={NODE}", "state=drain", "reason=test")
    running = Running(tmp_path, "-m", *SMALL, "iterations=300", "tracking=none", *SLURM)
    running.until(queue)
    time.sleep(5)
    sweep = tmp_path / "sweep"
    assert not (sweep / "0/run.json").exists()
    tell("scontrol", "update", f"nodename={NODE}", "state=resume")
    running.until((sweep / "0/content.png").is_file)
    [job] = [job for job in queue() if job.endswith("_1")]
    tell("scancel", job)
    ended = running.ended(400)
    assert ended.code == 1, ended.err
    assert "2 of 4 cells finished" in ended.err
    assert "is gone from Slurm's queue" in " ".join(ended.err.split())
    again = command(tmp_path, "-m", *SMALL, "iterations=300", "tracking=none")
    assert again.code == 0
    assert "2 of 4 cells were painted before" in again.err
    same(sweep, inline)


@real
@pytest.mark.slow
def test_what_cannot_be_submitted_is_one_line_and_ctrl_c_cancels(cluster: None, tmp_path: Path) -> None:
    few = ["-m", *SMALL, "iterations=4000", *SLURM]
    for arguments, says in (
        (["hydra.launcher.partition=nope"], "partition=nope: no such partition; allowed are long, short"),
        ([f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"], "cannot share a database that is a file"),
    ):
        ended = command(tmp_path, *few, *arguments)
        assert ended.code == 2
        assert says in ended.errors[0]
        assert queue() == []
    # An image in a mount that only the launcher has.
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    mount = f'mount -t tmpfs tmpfs {hidden} && cp {ROOT}/data/cat.png {hidden} && exec "$@"'
    alone = ["unshare", "--mount", "bash", "-c", mount, "alone", sys.executable, str(ROOT / "run.py"), *few]
    done = subprocess.run(
        [*alone, "tracking=none", f"images.content={hidden}/cat.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert f"error: {hidden}/cat.png: not there on a node of the cluster;" in done.stderr
    assert queue() == []
    running = Running(tmp_path, *few, "tracking=none")
    running.until((tmp_path / "sweep/0/content.png").is_file)
    running.send(signal.SIGINT)
    ended = running.ended()
    assert ended.code == 130, ended.err
    deadline = time.monotonic() + 30
    while queue():
        assert time.monotonic() < deadline
        time.sleep(0.5)
    ended = command(tmp_path, *few, "tracking=none", SLURM_CONF="/nowhere/slurm.conf")
    assert ended.code == 2
    assert "Slurm does not answer" in ended.errors[0]
