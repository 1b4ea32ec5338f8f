"""Hydra's own settings of paths, folders, launchers and logging: honoured, or refused in one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import hydra.conf
import pytest
from support.command import SMALL, command
from support.driven import driven, leaves
from support.results import record

from nst.config.paths import ROOT
from nst.runs.sweep import run_folders
from nst.tracking.view import RunView

ONE = "takes the name of one folder"
CELL = [*SMALL, "size=16", "iterations=2", "tracking=none", "optimizer=adam"]
CELL += ["content_layers=conv1_1", "style_layers=conv1_1"]

# Each setting with what it is tried with, and how it ends: None is honoured, a text is said in its one line.
SETTINGS: dict[str, dict[str, str | None]] = {
    "hydra.run.dir": {"outputs/mine": None, "'a b'": None},
    "hydra.sweep.dir": {"outputs/mine": None, "'a b'": None},
    "hydra.sweep.subdir": {
        "seed${seed}": None,
        "'${hydra.job.num} x'": None,
        "${hydra.job.override_dirname}": None,
        "same": "more than one cell",
        "a/${seed}": ONE,
        "../${seed}": ONE,
        "/tmp/${seed}": ONE,
        ".${seed}": ONE,
        "''": ONE,
        "sheet.png": ONE,
    },
    "hydra.output_subdir": {"null": "must be .hydra", "meta": "must be .hydra"},
    "hydra.job.chdir": {"true": None, "false": None},
    "hydra.job.name": {"mine": None},
    "+hydra.job.env_set.NST_X": {"y": None},
    "hydra.job.env_copy": {"[HOME]": None},
    "hydra.job.config": {"{override_dirname: {kv_sep: '-'}}": None},
    "hydra.launcher": {},  # the groups, below
    "hydra.job_logging": {},
    "hydra.hydra_logging": {},
    # basic: below; joblib: test_command.py
    "hydra/launcher": {"batched": None, "basic": None, "nope": "no such option"},
    "hydra/sweeper": {"presets": None, "basic": None, "nope": "no such option"},
    "hydra/job_logging": {"lab": None, "default": None, "disabled": None, "nope": "no such option"},
    "hydra/hydra_logging": {"lab": None, "default": None, "disabled": None},
    "hydra.verbose": {"true": None, "nst.runs": None},
}
# What has nothing to do with where things are, or is Hydra's to write.
OTHER = {"help", "hydra_help", "overrides", "runtime", "mode", "searchpath", "env", "sweeper", "callbacks"}
OTHER |= {"output", "defaults"}
GIVEN = {f"hydra.job.{name}" for name in ("id", "num", "override_dirname", "config_name")}


def test_every_setting_is_looked_at() -> None:
    keys = {key for key, _ in leaves(hydra.conf.HydraConf, "hydra.")}
    tried = {key.lstrip("+") for key in SETTINGS if "hydra." in key}
    for key in keys:
        known = any(key == name or key.startswith(f"{name}.") or name.startswith(f"{key}.") for name in tried)
        assert known or key in GIVEN or key.split(".")[1] in OTHER, key


CASES = [(f"{key}={value}", says) for key, values in SETTINGS.items() for value, says in values.items()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(ROOT / "data/cat.png", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sweep_of(*settings: str) -> list[str]:
    where = [] if any(part.startswith("hydra.sweep.dir") for part in settings) else ["hydra.sweep.dir=X"]
    return ["-m", *CELL, "seed=1,2", "images.content=cat.png", *where, *settings]


@pytest.mark.parametrize(("setting", "says"), [case for case in CASES if case[1]])
@pytest.mark.parametrize("more", ["hydra/sweeper=presets", "hydra/sweeper=basic"])
def test_a_setting_is_refused_before_anything_is_painted(
    more: str, setting: str, says: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if setting.startswith("hydra/sweeper="):
        more = setting
    ended = driven([*sweep_of(setting), more], monkeypatch)
    assert ended.code == 2, ended
    [line] = [line for line in ended.err.splitlines() if not line.startswith("warning: ")]
    assert line.startswith("error: ")
    assert says in line
    assert not list(folder.rglob("canvas.png"))
    if "basic" not in more:  # Hydra's own sweeper makes its folder first
        assert {path.name for path in folder.iterdir()} == {"cat.png"}


HONOURED = {
    key: [value for value, says in values.items() if says is None] for key, values in SETTINGS.items()
}
OF_ITS_OWN = ("hydra.sweep.subdir", "hydra/launcher", "hydra/sweeper", "hydra.job.chdir")
# The first value of every other key together, then the second, and so on.
TOGETHER = [
    [f"{key}={values[n]}" for key, values in HONOURED.items() if key not in OF_ITS_OWN and n < len(values)]
    for n in range(3)
]
TOGETHER[-1] += ["hydra/launcher=batched", "hydra/sweeper=presets", "hydra.job.chdir=false"]  # the defaults
TOGETHER += [["hydra/sweeper=basic", "hydra.job.chdir=true"]]


@pytest.mark.parametrize(
    "settings",
    [
        *TOGETHER,
        *([f"hydra.sweep.subdir={value}"] for value in HONOURED["hydra.sweep.subdir"]),
        *(
            pytest.param([f"{key}={value}"], marks=pytest.mark.slow)
            for key, values in HONOURED.items()
            for value in values
            if key not in OF_ITS_OWN
        ),
    ],
    ids=" ".join,
)
def test_a_setting_is_honoured(settings: list[str], folder: Path) -> None:
    ended = command(folder, *sweep_of(*settings))
    assert (ended.code, ended.errors) == (0, []), ended
    check_sweep(folder, {"cat.png", "outputs", "X", "a b"})


@pytest.mark.parametrize("sweeper", ["presets", "basic"])
def test_so_it_is_with_hydras_own_launcher(sweeper: str, folder: Path) -> None:
    more = ["hydra/launcher=basic", "hydra.job.chdir=true", "hydra.sweep.subdir='seed${seed}'"]
    ended = command(folder, *sweep_of(f"hydra/sweeper={sweeper}"), *more)
    assert (ended.code, ended.errors) == (0, []), ended
    check_sweep(folder, {"cat.png", "X", "outputs"})


def check_sweep(folder: Path, allowed: set[str]) -> None:
    """Two cells are finished, shown, and can be logged; nothing lies where it was not asked for."""
    [sweep] = {path.parent for path in folder.rglob("sweep.json")}
    runs = [path.parent for path in sweep.glob("*/run.json")]
    assert sorted(runs) == sorted(run_folders(sweep))
    assert len(runs) == 2
    for run in runs:
        assert record(run)["status"] == "finished"
        assert RunView.read(run).settings["images.content"] == "cat.png"
        assert not list(run.rglob("outputs"))
    assert (sweep / "sheet.png").is_file()
    assert {path.name for path in folder.iterdir()} <= allowed


def test_a_named_cell_is_found_again(folder: Path) -> None:
    arguments = sweep_of("hydra.sweep.subdir='seed${seed}'")
    for _ in range(2):
        ended = command(folder, *arguments)
        assert (ended.code, ended.errors) == (0, []), ended
    assert "2 of 2 cells were painted before" in ended.err
    assert [path.name for path in (folder / "X").glob("seed*")]
    assert not (folder / "X-1").exists()


def test_a_run_leaves_its_folder_for_relative_paths(folder: Path) -> None:
    cell = [part for part in CELL if part != "tracking=none"]
    cell += ["images.content=cat.png", "tracking.uri=sqlite:///mlflow.db"]
    ended = command(folder, *cell, "hydra.job.chdir=true", "hydra.run.dir=X")
    assert (ended.code, ended.errors) == (0, []), ended
    assert {path.name for path in folder.iterdir()} >= {"X", "mlflow.db"}
    assert not list((folder / "X").rglob("*.db"))


def test_a_preset_chooses_its_launcher_and_logging(folder: Path) -> None:
    (folder / "conf/experiment").mkdir(parents=True)
    (folder / "conf/experiment/mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /hydra/launcher: basic\n"
        "  - override /hydra/job_logging: disabled\n  - override /hydra/hydra_logging: default\n"
    )
    where = f"hydra.searchpath=[file://{folder}/conf]"
    ended = command(folder, "--cfg", "hydra", where, "experiment=mine")
    for choice in ("launcher: basic", "job_logging: disabled", "hydra_logging: default"):
        assert f"hydra/{choice}" in ended.out


def test_cells_of_several_presets_are_named_as_asked_for(folder: Path) -> None:
    asked = "experiment=readme/visualize_both,readme/visualize_style_all"
    arguments = [part for part in sweep_of(asked) if not part.startswith("images.")]
    ended = command(folder, *arguments, "hydra.sweep.subdir='seed${seed}'")
    assert (ended.code, ended.errors) == (0, []), ended
    for name in ("visualize_both", "visualize_style_all"):
        grid = folder / "X/readme" / name
        assert json.loads((grid / "sweep.json").read_text())["folders"] == ["seed1", "seed2"]
        assert all(record(run)["status"] == "finished" for run in run_folders(grid))


def test_a_search_numbers_its_cells(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["-m", *CELL, "hparams_search=weights", "hydra.sweep.subdir='seed${seed}'"]
    ended = driven(arguments, monkeypatch)
    assert ended.code == 2
    assert "hydra.sweep.subdir=seed${seed}: a search numbers its cells" in ended.err


def test_folders_are_in_the_order_of_their_numbers(folder: Path) -> None:
    for name in ("seed10", "seed9", "3", "10", "b"):
        (folder / name).mkdir()
        (folder / name / "run.json").write_text("{}")
    assert [path.name for path in run_folders(folder)] == ["b", "seed9", "seed10", "3", "10"]


def test_hydra_finds_the_plugins_without_torch() -> None:
    say = (
        "import sys; from hydra.core.plugins import Plugins; found = Plugins.instance().discover(); "
        "print({'GridSweeper', 'SearchSweeper', 'BatchedLauncher', 'BatchedSlurmLauncher', "
        "'BatchedRayLauncher'} <= {plugin.__name__ for plugin in found}, "
        "{'torch', 'mlflow', 'optuna'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True set()"
