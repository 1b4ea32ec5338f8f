"""What is drawn by processes beside this one."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest
from support.processes import children
from support.rundirs import make_collection

from nst.report.build import begin_sheets, rebuild
from nst.report.drawing import draw_ahead, draw_each, stop_drawing

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def stopped() -> Iterator[None]:
    yield
    stop_drawing()


def workers() -> list[psutil.Process]:
    return children("drawing")


def test_sheets_that_were_drawn_ahead_are_not_drawn_again(tmp_path: Path) -> None:
    folder = make_collection(tmp_path / "all", {"a": [["seed=0"], ["seed=1"]], "b": [["seed=0"]]})
    begin_sheets(folder / "a")
    deadline = monotonic() + 60
    while not (folder / "a/sheet.webp").is_file() and monotonic() < deadline:
        sleep(0.05)
    drawn = {path: path.stat().st_ino for path in (folder / "a").glob("sheet.*")}
    assert len(drawn) == 3
    made = rebuild(folder)
    assert {*drawn, folder / "b/sheet.png", folder / "index.html"} < set(made)
    assert {path: path.stat().st_ino for path in drawn} == drawn
    rebuild(folder)
    assert {path: path.stat().st_ino for path in drawn}.values() != drawn.values()


def test_a_process_that_dies_is_replaced_and_errors_are_raised(tmp_path: Path) -> None:
    folder = make_collection(tmp_path / "all", {"a": [["seed=0"]], "b": [["seed=0"]]})
    assert [each.result() for each in draw_each(os.nice, [0, 0])] == [os.nice(0)] * 2
    draw_ahead(os.nice, 0)
    assert [each.result() for each in draw_each(os.nice, [0])] == [os.nice(0) + 10]
    for worker in workers():
        worker.send_signal(signal.SIGKILL)
    assert len(rebuild(folder)) == 2 + 2 * 3 + 3  # curves, sheets, pages
    (folder / "b/sheet.mp4").unlink()
    (folder / "b/sheet.mp4").mkdir()
    begin_sheets(folder / "a")
    with pytest.raises(IsADirectoryError):
        rebuild(folder)
    assert workers() == []  # nothing is drawn that nobody waits for
    begin_sheets(folder / "a")
    stop_drawing()
    shutil.rmtree(folder / "b/sheet.mp4")
    assert len(rebuild(folder)) == 2 * 3 + 3  # what was begun and stopped is drawn, too


def test_where_no_process_can_be_started_it_is_drawn_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert [each.result() for each in draw_each(abs, [-1, 2])] == [1, 2]
    assert workers() == []
