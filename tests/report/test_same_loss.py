"""Iterations to the same loss: which runs are compared, and what is said of them."""

import csv
from pathlib import Path

import pytest
from support.rundirs import make_run

from nst.report.same_loss import descents, main, to_common_loss
from nst.runs.reader import read_run


def run(folder: Path, totals: list[float], *overrides: str) -> Path:
    """A run directory whose total losses are `totals`."""
    make_run(folder, overrides=list(overrides), size=16, iterations=len(totals))
    with (folder / "losses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "losses.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows({**row, "total": total} for row, total in zip(rows, totals, strict=True))
    return folder


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    return [
        run(tmp_path / "0", [9, 5, 4, 3], "optimizer=adam"),
        run(tmp_path / "1", [9, 3, 2, 1, 0.5], "optimizer=lbfgs"),
    ]


def test_the_common_loss_is_the_highest_final_one(two: list[Path]) -> None:
    assert to_common_loss([read_run(folder) for folder in two]) == {two[0]: 4, two[1]: 2}


def test_the_first_time_counts_and_not_the_last(tmp_path: Path) -> None:
    folders = [run(tmp_path / "0", [9, 1, 7, 3], "seed=0"), run(tmp_path / "1", [9, 8, 8, 1], "seed=1")]
    assert to_common_loss([read_run(folder) for folder in folders]) == {folders[0]: 2, folders[1]: 4}


@pytest.mark.parametrize(
    ("override", "together"),
    [
        ("optimizer=lbfgs", True),
        ("optimizer.lr=0.5", True),
        ("seed=3", True),
        ("init_image=content", True),
        ("hardware.precision=bf16", True),
        ("weights.tv=3.0", False),
        ("activation=conv", False),
        ("content_layers=conv3_1", False),
        ("images.style=data/mosaic.png", False),
        ("mode=visualize_style", False),
    ],
)
def test_only_runs_with_the_same_objective_are_compared(
    tmp_path: Path, override: str, together: bool
) -> None:
    folders = [run(tmp_path / "0", [3, 2, 1]), run(tmp_path / "1", [3, 2, 1], override)]
    assert bool(descents([read_run(folder) for folder in folders])) is together


def test_what_is_not_finished_or_not_readable_is_left_out(two: list[Path], tmp_path: Path) -> None:
    failed = make_run(tmp_path / "2", overrides=["optimizer=adam"], status="failed", size=16)
    broken = run(tmp_path / "3", [3, 2, 1], "seed=1")
    (broken / "losses.csv").write_text("iteration,total\n0,x\n")
    assert set(to_common_loss(map_runs([*two, failed, broken]))) == set(two)


def map_runs(folders: list[Path]) -> list:
    return [read_run(folder) for folder in folders]


def test_the_command_prints_a_table(
    two: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "reaches that of 1 at" in lines[2]
    assert lines[4].startswith("| 1 | adam")
    assert lines[4].endswith("| 3 | 4 | never |")
    assert lines[5].startswith("| 2 | lbfgs")
    assert lines[5].endswith("| 0.5 | 2 | 5 |")


@pytest.mark.parametrize("arguments", [[], ["--nope", "."], ["nowhere"], ["."]])
def test_what_cannot_be_compared_is_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
