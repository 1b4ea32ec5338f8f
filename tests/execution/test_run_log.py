"""`nst.log` of a cell: its own story, and nothing of its neighbours'."""

import logging
import re
from pathlib import Path

import pytest
from support.results import paint_here


def _lines(folder: Path) -> list[str]:
    """Level and message, without the time and without warnings, of which each process has one."""
    lines = [line.split(" ", 2)[2] for line in (folder / "nst.log").read_text().splitlines()]
    return [line for line in lines if not line.startswith("WARNING")]


def test_each_cell_tells_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = ["optimizer=adam", "iterations=30", "style_layers=conv1_1"]
    paint_here(tmp_path, cells, [*cells, "optimizer.lr=1e30"], [*cells, "images.content=nowhere.png"])
    good, diverged, failed = (_lines(tmp_path / name) for name in "012")
    assert re.match(r"INFO painting ", good[0])
    assert re.match(r"INFO on cpu in fp32, a batch of 2 cells, about [\d.]+ GiB", good[1])
    assert re.match(r"INFO with vgg\d\d, weights from ", good[2])
    assert re.match(r"INFO content \S+, style \S+", good[3])
    assert re.match(r"INFO \d+ px for 30 iterations of adam, from noise, seed 0", good[4])
    reports = [line for line in good if line.startswith("INFO iteration ")]
    assert 2 <= len(reports) <= 11
    assert all(re.search(r"iteration \d+/30, \d+ px, loss [\d.e+]+", line) for line in reports)
    assert re.fullmatch(r"INFO finished: loss \S+, .*\d+ frames, \S+ s of painting", good[-1])
    assert diverged[-1].startswith("ERROR diverged: optimizer.lr=1e+30: the loss is not a finite number")
    assert failed[-1].startswith("ERROR failed: images.content=nowhere.png: no such file")
    assert not any("iteration" in line for line in failed)
    assert "weights from" not in capsys.readouterr().err


def test_a_size_after_the_other_is_told(tmp_path: Path) -> None:
    scales = ["scales=pyramid", "scales.smallest=32", "scales.iterations=4", "size=64", "iterations=6"]
    paint_here(tmp_path, [*scales, "style_layers=conv1_1"])
    lines = _lines(tmp_path / "0")
    assert any("32 px for 6, 45 px for 4, 64 px for 4 iterations" in line for line in lines)
    for size in (32, 45, 64):
        assert any(f"/14, {size} px, loss" in line for line in lines)


def test_verbose_shows_it_with_the_cell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "nst")
    paint_here(tmp_path, ["iterations=2", "style_layers=conv1_1"])
    # pytest listens at a logger that did not propagate, too: the same record may be there twice.
    told = {id(record) for record in caplog.records if "finished: loss" in record.getMessage()}
    assert len(told) == 1
    assert sum("finished: loss" in line for line in _lines(tmp_path / "0")) == 1
