"""What a person sees while it paints."""

import logging
import re
from io import StringIO
from itertools import count
from pathlib import Path

import pytest
from rich.console import Console
from support.command import SMALL
from support.composing import config

from nst.execution import progress
from nst.execution.executors.base import batch_labels
from nst.execution.progress import BatchProgress, progress_display
from nst.io.text import escape_unprintable
from nst.runs.job import Job


def test_lines_of_a_log_have_rate_time_left_and_losses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    first, second = "batch 1 of 2, 3 cells", "batch 2 of 2, 1 cell"
    with caplog.at_level(logging.INFO), progress_display({first: 3.0, second: 1.0}) as display:
        now = 1.0
        display.update(first, BatchProgress.of(5, [(100, 3.0)], [5.0, 4.0, float("nan")]))
        now = 2.0
        display.update(first, BatchProgress.of(6, [(100, 3.0)], [5.0, 4.0, 3.0]))
        assert not caplog.messages
        now = 11.0
        display.update(first, BatchProgress.of(55, [(100, 3.0)], [2.0, 1.0, 1.5]))
        # Of the whole, three quarters are this batch's; 5% of it were there when it was first seen.
        left = (1 - 0.75 * 0.55) * 11 / (0.75 * 0.5)
        assert caplog.messages == [
            f"{first}: 55/100 iterations, 5.0 it/s, 9 s left, loss 1 to 2",
            f"41% of 2 batches painted, 1 in progress, {left:.0f} s left",
        ]
        display.finish(first)
        display.finish(second)  # it was quick, and never reported


def test_later_scales_cost_more(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    costs = [(10, 1.0), (10, 4.0)]  # 10 of 50, then 40
    monkeypatch.setattr(progress.time, "monotonic", lambda: 0.0)
    with caplog.at_level(logging.INFO), progress_display({"batch": 1.0}) as display:
        display.update("batch", BatchProgress.of(0, costs, [1.0]))
        monkeypatch.setattr(progress.time, "monotonic", lambda: 10.0)
        display.update("batch", BatchProgress.of(10, costs, [1.0]))
        monkeypatch.setattr(progress.time, "monotonic", lambda: 30.0)
        display.update("batch", BatchProgress.of(15, costs, [1.0]))
    assert caplog.messages == [
        "batch: 10/20 iterations, 1.0 it/s, 40 s left, loss 1",
        "batch: 15/20 iterations, 0.2 it/s, 20 s left, loss 1",
    ]


@pytest.mark.parametrize(
    ("totals", "shown"),
    [([1.0, 1.0], "loss 1"), ([2.0, float("inf")], "loss 2"), ([float("nan")], "no finite loss")],
)
def test_losses_are_the_finite_ones(totals: list[float], shown: str) -> None:
    assert BatchProgress.of(1, [(2, 1.0)], totals).loss == shown


def test_the_bars_of_a_terminal_show_hostile_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=StringIO(), force_terminal=True, color_system=None, width=200)
    monkeypatch.setattr(progress, "console", terminal)
    names = ("content_layers=[conv1_1,conv3_1]", "images.content='[/red]\x1b]0;title\a\n.png'")
    jobs = [Job(config(*SMALL), tmp_path / str(row), (name,)) for row, name in enumerate(names)]
    with progress_display({escape_unprintable(name): 1.0 for name in names}) as display:
        for job in jobs:
            [label] = batch_labels([[job]])
            display.update(label, BatchProgress.of(2, [(2, 1.0)], [1.0, 2.0]))
    assert isinstance(terminal.file, StringIO)
    shown = terminal.file.getvalue()
    for name in names:
        assert escape_unprintable(name) in shown
    assert "\x1b]0;" not in shown


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds go by whenever one looks."""
    monkeypatch.setattr(progress.time, "monotonic", count(0.0, 3.0).__next__)


@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize("width", [80, 100, 120])
def test_bar_iterations_rate_and_time_left_never_vanish(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=StringIO(), force_terminal=True, color_system=None, width=width)
    monkeypatch.setattr(progress, "console", terminal)
    label = "images.content=/a/very/long/path/to/a/picture.png optimizer=adam seed=1"
    costs = {f"{cell} {label}": 1.0 for cell in range(15)}
    with progress_display(costs) as display:
        assert isinstance(display, progress._Bars)
        for cell in range(6):  # as many at a time as there are workers
            for iteration in (0, 500, 1000, 1500):
                steps = BatchProgress.of(iteration, [(2500, 1.0)], [12345.0, 9.87e7])
                display.update(f"{cell} {label}", steps)
        assert isinstance(terminal.file, StringIO)
        terminal.file.truncate(0)
        terminal.file.seek(0)
        display._bars.refresh()
        drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", terminal.file.getvalue())
        lines = [line for line in drawn.splitlines() if "\u2501" in line]
    whole, *batches = lines
    assert whole.startswith("15 batches")
    assert re.search(r"\d:\d\d:\d\d", whole)
    assert len(batches) == progress.MOST_LINES
    for line in batches:
        assert len(line) <= width
        assert "1500/2500" in line
        assert " it/s" in line
        assert re.search(r"\d:\d\d:\d\d", line)
        assert "\u2501" * 3 in line  # 0.6 of it


@pytest.mark.usefixtures("ticking")
def test_eighty_columns_have_room_for_the_losses_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=StringIO(), force_terminal=True, color_system=None, width=80)
    monkeypatch.setattr(progress, "console", terminal)
    label = "batch 1 of 2, 5 cells"
    with progress_display({label: 1.0, "batch 2 of 2, 5 cells": 1.0}) as display:
        display.update(label, BatchProgress.of(0, [(2500, 1.0)], [1.0, 2.0]))
        display.update(label, BatchProgress.of(1500, [(2500, 1.0)], [0.2322, 7.593]))
    assert isinstance(terminal.file, StringIO)
    assert "loss 0.2322 to 7.593" in terminal.file.getvalue()
