"""The wheel in an environment of its own: `nst` is run.py, with what it needs inside."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from nst.config.paths import ROOT

SMALL = ["model=vgg16", "model.weights=random", "size=24", "iterations=2", "hardware.device=cpu"]
SMALL += ["style_layers=conv1_1"]


def done(command: list[str], folder: Path) -> str:
    """What a command prints; it sees no checkout."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "HYDRA_FULL_ERROR")}
    ended = subprocess.run(
        command,
        cwd=folder,
        env=clean | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel in it, and all that it depends on from this one."""
    folder = tmp_path_factory.mktemp("installed")
    done([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], ROOT)
    [wheel] = folder.glob("*.whl")
    done([sys.executable, "-m", "venv", str(folder / "venv")], folder)
    python = str(folder / "venv/bin/python")
    done([python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)], folder)
    [packages] = (folder / "venv/lib").glob("*/site-packages")
    # A path, of which the .pth files are not read: the checkout stays unknown.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "venv"


def test_the_command_paints_in_any_folder(installed: Path, tmp_path: Path) -> None:
    said = done([str(installed / "bin/nst"), "-m", *SMALL, "seed=1,2", "hydra.sweep.dir=outputs/X"], tmp_path)
    assert "2 of 2 cells finished" in said
    assert {path.name for path in tmp_path.iterdir()} > {"outputs", "mlflow.db"}
    assert json.loads((tmp_path / "outputs/X/sweep.json").read_text())["command"].startswith("nst -m ")
    for number in range(2):
        run = tmp_path / f"outputs/X/{number}"
        assert (run / "canvas.png").is_file()
        assert json.loads((run / "run.json").read_text())["git"] is None
    again = done([str(installed / "bin/python"), "-m", "nst.tracking", "outputs"], tmp_path)
    assert "0 runs logged, 2 there already" in again


def test_all_of_conf_and_data_is_inside(installed: Path, tmp_path: Path) -> None:
    say = "import nst.config.paths as paths; print(paths.ROOT)"
    root = Path(done([str(installed / "bin/python"), "-c", say], tmp_path).strip())
    assert root.is_relative_to(installed)
    for name in ("conf", "data"):
        ours, theirs = ({path.relative_to(top) for path in (top / name).rglob("*")} for top in (ROOT, root))
        assert ours == theirs
