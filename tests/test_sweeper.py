"""Sweeps of presets: what they expand to, where it goes, and what is painted once."""

import json
from pathlib import Path

import pytest
from test_cli import Ended, command, record

SMALL = ["model=vgg16", "model.weights=random", "size=16", "iterations=2", "hardware.device=cpu"]


def sweep(folder: Path, *arguments: str) -> Ended:
    return command(folder, "-m", *SMALL, "tracking=none", "hydra.sweep.dir=outputs/sweep", *arguments)


def described(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "sweep.json").read_text())
    return found


def cells(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/run.json"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """Two presets of which one has all cells of the other, with one key of theirs overridden."""
    folder = tmp_path_factory.mktemp("pair")
    ended = sweep(
        folder, "experiment=readme/conv_vs_relu,readme/noise_adam", "content_layers=conv1_1,conv3_1"
    )
    assert (ended.code, ended.errors) == (0, []), ended.err
    return folder / "outputs/sweep", ended


def test_each_preset_is_a_sweep_of_its_own(pair: tuple[Path, Ended]) -> None:
    folder, _ = pair
    assert described(folder)["grids"] == ["readme/conv_vs_relu", "readme/noise_adam"]
    for name, count in (("conv_vs_relu", 4), ("noise_adam", 2)):
        grid = folder / "readme" / name
        assert [path.name for path in cells(grid)] == [str(number) for number in range(count)]
        assert described(grid)["name"] == f"readme/{name}"
        assert described(grid)["title"]
        words = str(described(grid)["command"]).split()
        assert words[:3] == ["python", "run.py", "-m"]
        assert f"experiment=readme/{name}" in words
        assert "content_layers=conv1_1,conv3_1" in words
        assert {"sheet.png", "sheet.mp4", "sheet.webp", "index.html"} <= {
            path.name for path in grid.iterdir()
        }
    assert (folder / "index.html").is_file()
    assert described(folder)["ended"] is not None


def test_cells_of_all_presets_are_batched_and_shared_ones_painted_once(pair: tuple[Path, Ended]) -> None:
    folder, ended = pair
    first, second = cells(folder / "readme/conv_vs_relu"), cells(folder / "readme/noise_adam")
    assert [record(run)["timings"]["batch_cells"] for run in first] == [4] * 4
    for run, painter in zip(second, first[:2], strict=True):  # conv comes first
        assert record(run)["identity"] == record(painter)["identity"]
        assert record(run)["taken_from"] == str(painter)
        assert (run / "canvas.png").samefile(painter / "canvas.png")
        assert record(run)["name"] != record(painter)["name"]
    assert all("taken_from" not in record(run) for run in first)
    assert "6 of 6 cells finished" in ended.err
    assert "2 of them taken" in ended.err


def test_a_glob_takes_what_it_matches_in_the_order_of_the_presets(tmp_path: Path) -> None:
    ended = sweep(tmp_path, "experiment=glob(readme/*_style*)", "plan=true")
    assert (ended.code, ended.errors) == (0, []), ended.err
    found = list(dict.fromkeys(line.split("/")[0] for line in ended.out.splitlines() if "/" in line))
    assert found == [
        *("visualize_style", "visualize_style_groups", "visualize_style_all", "visualize_style_patience"),
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_glob_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    ended = sweep(tmp_path, "experiment=glob(reedme/*)")
    assert ended.code == 2
    [line] = ended.errors
    assert line.startswith("error: experiment=glob(reedme/*): no preset has such a name; allowed are ")
    assert "readme/noise_adam" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("launcher", ["batched", "basic"])
def test_a_config_that_cannot_be_painted_leaves_nothing(launcher: str, tmp_path: Path) -> None:
    ended = sweep(
        tmp_path, "experiment=readme/noise_adam,quickstart", "size=16,0", f"hydra/launcher={launcher}"
    )
    assert ended.code == 2
    [line] = ended.err.splitlines()
    assert line.startswith("error: size=0:")
    assert list(tmp_path.iterdir()) == []


def test_another_launcher_paints_presets_too(tmp_path: Path) -> None:
    ended = sweep(
        tmp_path, "experiment=readme/visualize_both,readme/visualize_style_all", "hydra/launcher=basic"
    )
    assert (ended.code, ended.errors) == (0, []), ended.err
    folder = tmp_path / "outputs/sweep/readme"
    for name in ("visualize_both", "visualize_style_all"):
        assert [record(run)["status"] for run in cells(folder / name)] == ["finished"]
        assert (folder / name / "sheet.png").is_file()
