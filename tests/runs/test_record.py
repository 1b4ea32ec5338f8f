"""`run.json` and `sweep.json` as records: what is read, what is refused, and what is written again."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nst.errors import NstError
from nst.io.files import warn_skipped
from nst.runs.record import FileInfo, Machine, Model, RunRecord, Status, SweepRecord
from nst.runs.sweep import open_sweep

FILES = ("canvas.png", "canvas.mp4", "losses.csv", "losses.png", "content.png", "style.png")
# Written by the version before records were typed.
RUN: dict[str, Any] = {
    "name": "optimizer=adam",
    "device": "cpu",
    "precision": "fp32",
    "lr": 0.06,
    "fps": 30,
    "versions": {"torch": "2.15.0", "hydra-core": "1.3.8"},
    "machine": {"instructions": "AVX512", "threads": 1},
    "git": None,
    "status": "finished",
    "error": None,
    "started": "2026-11-26T15:30:12.999556+00:00",
    "ended": "2026-11-26T15:30:15.416854+00:00",
    "identity": "616ab159d6e7",
    "model": {"name": "vgg16", "asked": "vgg19", "weights": "1cdb4e934a09", "source": "package index"},
    "frames": [0, 2, 4, 5],
    "final": {"total": 18.41486167907715, "content": 0.7365273237228394, "style": 0.0018, "tv": 1.75},
    "files": {name: {"bytes": number, "sha256": f"5d{number}"} for number, name in enumerate(FILES)},
    "timings": {"painting_seconds": 1.2725473400005285, "gflops": 6.97, "batch_cells": 3},
    "scores": None,
}
SWEEP: dict[str, Any] = {
    "name": "noise_adam",
    "title": None,
    "command": "python run.py -m experiment=noise_adam",
    "started": "2026-11-26T15:30:11.342504+00:00",
    "ended": None,
    "cells": 2,
    "per_row": 4,
    "interrupted": True,
}


@pytest.fixture(autouse=True)
def warn_again() -> None:
    """A warning is given once a process; here it is once a test."""
    warn_skipped.cache_clear()


def write(folder: Path, record: Any, name: str = "run.json") -> Path:
    (folder / name).write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize(("kind", "known"), [(RunRecord, RUN), (SweepRecord, SWEEP)])
def test_an_older_file_is_read_and_written_as_it_was(
    kind: type[RunRecord] | type[SweepRecord], known: dict[str, Any], tmp_path: Path
) -> None:
    found = kind.load(write(tmp_path, known, kind.NAME))
    assert found == kind.read(tmp_path) == kind.read(tmp_path, lenient=True)
    (tmp_path / kind.NAME).unlink()
    found.write(tmp_path)
    assert json.loads((tmp_path / kind.NAME).read_text()) == known


def test_what_a_run_record_says(tmp_path: Path) -> None:
    record = RunRecord.read(write(tmp_path, RUN | {"taken_from": "/runs/3"}))
    assert record.status is Status.FINISHED
    assert record.finished
    assert record.takeable
    assert record.total == 18.41486167907715
    assert (record.gflops, record.batch_cells) == (6.97, 3)
    assert record.files["canvas.mp4"] == FileInfo(bytes=1, sha256="5d1")
    assert record.model == Model(name="vgg16", asked="vgg19", weights="1cdb4e934a09", source="package index")
    assert record.machine == Machine(instructions="AVX512", threads=1)
    assert record.taken_from == Path("/runs/3")
    assert record.scores == {}


def test_a_record_that_is_not_there_is_blank(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = RunRecord.read(tmp_path)
    assert record == RunRecord()
    assert record.blank
    assert record.status is Status.MISSING
    assert math.isnan(record.total)
    assert not record.takeable
    assert (record.gflops, record.batch_cells, record.final, record.frames) == (None, 1, {}, [])
    assert SweepRecord.read(tmp_path / "no folder").blank
    assert not caplog.messages


def test_keys_of_another_version_are_kept(tmp_path: Path) -> None:
    model = RUN["model"] | {"layers": 16}
    newer = RUN | {"mood": {"good": [1]}, "extra": 3, "model": model}
    record = RunRecord.load(write(tmp_path, newer))
    assert replace(record, name="other").to_json() == newer | {"name": "other"}


@pytest.mark.parametrize(
    "key", ["device", "lr", "fps", "versions", "machine", "identity", "model", "files", "timings", "scores"]
)
@pytest.mark.parametrize("null", [False, True])
def test_keys_of_an_older_version_may_be_absent(key: str, null: bool, tmp_path: Path) -> None:
    known = {name: value for name, value in RUN.items() if name != key} | ({key: None} if null else {})
    record = RunRecord.load(write(tmp_path, known))
    assert getattr(record, key) == getattr(RunRecord(), key)
    assert record.takeable is (key != "identity")
    assert record.total == RUN["final"]["total"]


def test_what_is_written_of_a_run_that_has_only_begun() -> None:
    record = RunRecord(name="0", status=Status.RUNNING, started=RUN["started"])
    nulls = dict.fromkeys(("error", "ended", "device", "git", "scores"))
    assert record.to_json() == {"name": "0", "status": "running", "started": RUN["started"], **nulls}


WRONG: dict[str, list[Any]] = {
    "status": ["done", "missing", ["finished"], 3],
    "name": [{}, 3],
    "error": [["x"]],
    "identity": [["a"], 3],
    "taken_from": [3, ["a"]],
    "device": [0],
    "precision": [32],
    "git": [0.5],
    "lr": ["0.06", True],
    "fps": ["30", -1, 29.97],
    "started": ["yesterday", 3, "2026-11-26T15:30:12"],
    "ended": [{}, "soon"],
    "final": [[], {"total": "0"}, {"total": True}, {"total": 10**400}, 3],
    "timings": [{"gflops": "fast"}, "long"],
    "scores": [{"lpips_content": None}, 1],
    "versions": [[], "2.15"],
    "machine": [[], {"threads": "two"}],
    "model": ["vgg19", {"name": 3}],
    "frames": [["0"], [3, 0], [0, 0], [-1], [True], {"0": 1}, "0"],
    "files": [
        [],
        {},
        {"canvas.png": {"bytes": 1, "sha256": ""}},
        RUN["files"] | {"../../1/canvas.png": {"bytes": 1, "sha256": ""}},
        RUN["files"] | {"canvas.png": {"bytes": "1", "sha256": ""}},
        RUN["files"] | {"canvas.png": {"bytes": 1}},
        RUN["files"] | {"canvas.png": [1, ""]},
    ],
    "diverged_at": ["7", -1],
    "traceback": ["Traceback"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key in WRONG for value in WRONG[key]])
def test_a_wrong_value_is_never_relied_on(
    key: str, value: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, RUN | {key: value})
    shown = RunRecord.read(tmp_path, lenient=True)
    assert shown == replace(RunRecord.from_json(RUN)[0], **{key: getattr(RunRecord(), key)})
    assert not caplog.messages
    assert RunRecord.read(tmp_path).blank
    assert RunRecord.read(tmp_path).blank
    assert caplog.messages == [f"{tmp_path / 'run.json'}: what it has for {key} is wrong; passed over"]
    with pytest.raises(
        NstError, match=f"run.json: what it has for {key} is wrong; paint the run or sweep again"
    ):
        RunRecord.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("started", None), ("frames", None), ("frames", []), ("final", None), ("final", {})),
        *(("final", {"content": 1.0}), ("final", {"total": math.nan}), ("final", {"total": -math.inf})),
    ],
)
@pytest.mark.parametrize("status", ["finished", "failed"])
def test_only_a_finished_run_has_to_have_finite_losses_and_frames(
    key: str, value: Any, status: str, tmp_path: Path
) -> None:
    write(tmp_path, RUN | {key: value, "status": status})
    assert RunRecord.read(tmp_path).blank is (status == "finished")
    assert RunRecord.read(tmp_path, lenient=True).status == status


@pytest.mark.parametrize("name", RunRecord.NEEDED)
def test_tracking_needs_more(name: str, tmp_path: Path) -> None:
    known = RUN | {"status": "failed"}
    del known[name]
    write(tmp_path, known)
    with pytest.raises(NstError, match=f"what it has for {name} is wrong"):
        RunRecord.load(tmp_path)
    assert RunRecord.read(tmp_path).identity == RUN["identity"]


def test_a_file_that_cannot_be_loaded_is_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(NstError, match=r"no run.json in it; give a run or sweep directory"):
        RunRecord.load(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(NstError, match=r"run.json: not readable as JSON; paint the run or sweep again"):
        RunRecord.load(tmp_path)
    assert RunRecord.read(tmp_path).blank
    assert RunRecord.read(tmp_path, lenient=True).blank
    assert len(caplog.messages) == 1
    (tmp_path / "run.json").unlink()
    (tmp_path / "run.json").mkdir()
    with pytest.raises(NstError, match=r"run.json: .*; paint the run or sweep again") as raised:
        RunRecord.load(tmp_path)
    assert "\n" not in str(raised.value)


WRONG_OF_A_SWEEP: dict[str, list[Any]] = {
    "name": [3],
    "title": [[]],
    "command": [{}],
    "started": ["now"],
    "ended": [1],
    "interrupted": ["no"],
    "cells": [-1, 10**9, True],
    "per_row": ["3"],
    "grids": ["a", [3], [""], ["/etc"], ["a/../../b"]],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key in WRONG_OF_A_SWEEP for value in WRONG_OF_A_SWEEP[key]]
)
def test_a_wrong_value_of_a_sweep_is_never_relied_on(
    key: str, value: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, SWEEP | {key: value}, "sweep.json")
    assert SweepRecord.read(tmp_path).blank
    assert caplog.messages == [f"{tmp_path / 'sweep.json'}: what it has for {key} is wrong; passed over"]
    shown = SweepRecord.read(tmp_path, lenient=True)
    assert getattr(shown, key) == getattr(SweepRecord(), key)
    assert shown.name == (SWEEP["name"] if key != "name" else "")


def test_a_sweep_of_no_sweeps_stays_one(tmp_path: Path) -> None:
    SweepRecord(name="x", grids=[]).write(tmp_path)
    assert SweepRecord.read(tmp_path).grids == []


def test_each_status_has_its_words() -> None:
    words = {
        "running": ("unfinished", "KILLED"),
        "finished": ("finished", "FINISHED"),
        "failed": ("failed", "FAILED"),
        "diverged": ("diverged", "FAILED"),
        "interrupted": ("unfinished", "KILLED"),
        "missing": ("missing", "KILLED"),
    }
    assert {str(status): (status.label, status.mlflow) for status in Status} == words


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("finished", ("missing", "3/canvas.png")),
        ("failed", ("failed", "no memory")),
        ("diverged", ("diverged", "no memory")),
        ("running", ("unfinished", "")),
        ("interrupted", ("unfinished", "")),
        ("done", ("missing", "3/run.json")),
    ],
)
def test_why_a_run_has_no_canvas(status: str, why: tuple[str, str]) -> None:
    record, _ = RunRecord.from_json({"status": status, "error": "no memory"})
    assert record.why_no_canvas("3") == why
    assert record.has_canvas is (status in ("finished", "diverged"))


def test_a_sweep_is_named_by_its_preset_or_by_what_it_sweeps(tmp_path: Path) -> None:
    for name, swept, said in (
        ("readme/noise_adam", ["seed"], "readme/noise_adam"),
        (None, ["optimizer", "content_layers"], "optimizer x content_layers"),
        (None, [], "sweep"),
    ):
        open_sweep(tmp_path, name, None, swept)
        assert SweepRecord.load(tmp_path).name == said
