"""The thread that tracks: which runs it looks at while they are painted."""

from pathlib import Path
from threading import Event

import pytest
from support.driven import SMALL, driven
from support.logging_here import LoggingHere
from support.rundirs import make_run

from nst.errors import NstError
from nst.runs.record import RunRecord, Status, now
from nst.tracking.background import BackgroundTracker
from nst.tracking.client import Store, TrackingUnavailable


class Calls(list[tuple[str, str]]):
    """What is asked of the store, by name and folder; `watched` when a run was looked at."""

    def __init__(self) -> None:
        self.watched = Event()
        self.error: Exception | None = None

    def watch(self, folder: Path, store: Store) -> None:
        self.append(("watch", folder.name))
        self.watched.set()
        if self.error:
            raise self.error

    def log(self, folder: Path, store: Store) -> None:
        self.append(("log", folder.name))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    monkeypatch.setattr("nst.tracking.background.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("nst.tracking.logger.watch_run", calls.watch)
    monkeypatch.setattr("nst.tracking.logger.log_run", calls.log)
    return calls


def begin(folder: Path) -> None:
    RunRecord(name="a", status=Status.RUNNING, started=now()).write(folder)


def test_runs_are_looked_at_from_their_start_to_their_end(calls: Calls, tmp_path: Path) -> None:
    for name in ("begun", "killed before", "waiting"):
        make_run(tmp_path / name, overrides=[], status="running")
    (tmp_path / "waiting/run.json").unlink()
    tracker = BackgroundTracker(LoggingHere(Store("sqlite:///none", "", 0)))
    tracker.watch([tmp_path / "begun", tmp_path / "killed before", tmp_path / "waiting"])
    begin(tmp_path / "begun")
    assert calls.watched.wait(60)
    tracker.log(tmp_path / "begun")
    tracker.wait()
    calls.watched.clear()
    assert not calls.watched.wait(0.3)
    assert calls[-1] == ("log", "begun")
    assert set(calls[:-1]) == {("watch", "begun")}
    begin(tmp_path / "waiting")
    assert calls.watched.wait(60)
    tracker.abort([])
    seen = len(calls)
    calls.watched.clear()
    assert not calls.watched.wait(0.3)
    assert len(calls) - seen <= 1  # the look that was on its way


def test_a_run_that_ends_while_it_is_looked_at_is_no_news_and_a_store_that_is_down_is(
    calls: Calls, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_run(tmp_path / "run", overrides=[], status="running")
    tracker = BackgroundTracker(LoggingHere(Store("sqlite:///none", "", 0)))
    calls.error = NstError("canvas.png: gone")
    tracker.watch([tmp_path / "run"])
    begin(tmp_path / "run")
    assert calls.watched.wait(60)
    calls.watched.clear()
    assert calls.watched.wait(60)  # it is looked at again
    assert caplog.records == []
    calls.error = TrackingUnavailable("down")
    calls.watched.clear()
    assert calls.watched.wait(60)
    calls.watched.clear()
    assert not calls.watched.wait(0.3)  # it is left alone
    assert [record.message for record in caplog.records] == ["down"]


def test_what_cannot_be_tracked_is_told_by_what_comes_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.chdir(tmp_path)
    for sweep in ([], ["-m"]):
        wrong = [*sweep, *SMALL, "tracking=mlflow", "tracking.uri=${images}", "outputs=outputs"]
        ended = driven(wrong, monkeypatch)
        assert ended.code == 2
        [line] = [line for line in ended.err.splitlines() if line.startswith("error: ")]
        assert "tracking.uri" in line
        # Hydra makes a warning of what a callback raises, and paints in a folder that nobody looked at.
        assert [str(one.message) for one in recwarn if "Callback" in str(one.message)] == []
