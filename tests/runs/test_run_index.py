"""Finished runs by their identity, and one of them taken into another folder; the files are made up."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nst.errors import NstError
from nst.runs.index import RunIndex, link_run
from nst.runs.record import REQUIRED_FILES, RunRecord, Status, describe_files, find_damage


def run_in(folder: Path, identity: str, **more: Any) -> RunRecord:
    """Leave a finished run in a folder."""
    folder.mkdir(parents=True)
    for name in REQUIRED_FILES:
        (folder / name).write_text(f"{identity} {name}")
    record = RunRecord(
        name=folder.name,
        status=Status.FINISHED,
        started="2026-11-26T15:30:12+00:00",
        identity=identity,
        frames=[0],
        final={"total": 1.0},
        files=describe_files(folder),
        fps=30,
    )
    record = replace(record, **more)
    record.write(folder)
    return record


def test_runs_are_found_by_identity_below_any_of_the_folders(tmp_path: Path) -> None:
    run_in(tmp_path / "a/deep/0", "one")
    run_in(tmp_path / "b/0", "two")
    index = RunIndex([tmp_path / "a", tmp_path / "b", tmp_path / "none", tmp_path / "a/deep"])
    assert index.find("one", tmp_path) == tmp_path / "a/deep/0"
    assert index.find("two", tmp_path) == tmp_path / "b/0"
    assert index.find("three", tmp_path) is None


def test_the_folder_itself_comes_first(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        run_in(tmp_path / name, "one")
    index = RunIndex([tmp_path])
    for name in ("a", "b", "c"):
        assert index.find("one", tmp_path / name) == tmp_path / name
    assert index.find("one", tmp_path / "d") in {tmp_path / name for name in ("a", "b", "c")}


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.FINISHED])
def test_only_finished_runs_are_found(status: Status, tmp_path: Path) -> None:
    run_in(tmp_path / "0", "one", status=status)
    assert RunIndex([tmp_path]).find("one", tmp_path / "0") is None


def test_a_damaged_run_is_passed_over_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        run_in(tmp_path / name, "one")
    (tmp_path / "a/canvas.png").write_text("ONE canvas.png")
    index = RunIndex([tmp_path])
    for _ in range(2):
        assert index.find("one", tmp_path / "a") == tmp_path / "b"
    assert caplog.messages == [
        f"{tmp_path / 'a/canvas.png'}: not the file that run.json tells of; this run is not taken"
    ]


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda path: path.write_text("x"), "losses.csv: 1 bytes, where run.json tells of 14"),
        (lambda path: path.unlink(), "losses.csv: No such file or directory"),
    ],
)
def test_damage_names_the_file(break_it: Any, said: str, tmp_path: Path) -> None:
    record = run_in(tmp_path / "0", "one")
    assert find_damage(tmp_path / "0", record) is None
    break_it(tmp_path / "0/losses.csv")
    assert find_damage(tmp_path / "0", record) == f"{tmp_path / '0'}/{said}"


def test_speed_is_the_median_of_runs_painted_alike(tmp_path: Path) -> None:
    like = {"device": "cpu", "precision": "fp32"}
    for number, speed in enumerate((5.0, 100.0, 7.0)):
        run_in(tmp_path / str(number), str(number), **like, timings={"gflops": speed})
    run_in(tmp_path / "old", "old", **like)
    run_in(tmp_path / "other", "other", device="cuda", precision="fp32", timings={"gflops": 1e5})
    index = RunIndex([tmp_path])
    assert index.speed("cpu", "fp32") == (7.0, 3)
    speed, runs = index.speed("cpu", "bf16")
    assert math.isnan(speed)
    assert runs == 0


def test_a_run_is_taken_by_links_and_names_where_it_was_painted(tmp_path: Path) -> None:
    was = run_in(tmp_path / "a", "one")
    (tmp_path / "a/nst.log").write_text("painted")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/losses.png").write_text("of another run")
    record = link_run(tmp_path / "a", tmp_path / "b", "cell", fps=30)
    assert record == RunRecord.read(tmp_path / "b") == replace(was, name="cell", taken_from=tmp_path / "a")
    assert all((tmp_path / "b" / name).samefile(tmp_path / "a" / name) for name in REQUIRED_FILES)
    assert not (tmp_path / "b/losses.png").exists()
    assert not (tmp_path / "b/nst.log").samefile(tmp_path / "a/nst.log")
    # What is taken from a taken run was painted where that was.
    assert link_run(tmp_path / "b", tmp_path / "c", "third", fps=30).taken_from == tmp_path / "a"


def test_a_run_in_its_own_folder_is_left_alone(tmp_path: Path) -> None:
    was = run_in(tmp_path / "a", "one")
    before = (tmp_path / "a/run.json").stat()
    assert link_run(tmp_path / "a", tmp_path / "a", "another name", fps=30) == was
    assert (tmp_path / "a/run.json").stat().st_ino == before.st_ino


def test_a_run_that_is_painted_again_meanwhile_is_not_taken(tmp_path: Path) -> None:
    run_in(tmp_path / "a", "one", status=Status.RUNNING)
    with pytest.raises(NstError, match=r"a: was finished, and is not any more; run the same command again"):
        link_run(tmp_path / "a", tmp_path / "b", "cell", fps=30)
    assert not (tmp_path / "b").exists()
