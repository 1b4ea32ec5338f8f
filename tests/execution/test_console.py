"""What a terminal shows while cells are painted."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from support.command import SMALL
from support.composing import config

from nst.execution import console
from nst.execution.batch import Progress
from nst.io.text import escape_unprintable
from nst.runs.job import Job


def test_the_bars_of_a_terminal_show_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=StringIO(), force_terminal=True, color_system=None, width=200)
    monkeypatch.setattr(console, "console", terminal)
    names = ("content_layers=[conv1_1,conv3_1]", "images.content='[/red]\x1b]0;title\a\n.png'")
    jobs = [Job(config(*SMALL), tmp_path / str(row), (name,)) for row, name in enumerate(names)]
    with console.batch_progress(jobs) as watch:
        watch(Progress(2, 2, [1.0, 2.0]))
    assert isinstance(terminal.file, StringIO)
    shown = terminal.file.getvalue()
    for name in names:
        assert escape_unprintable(name) in shown
    assert "\x1b]0;" not in shown
