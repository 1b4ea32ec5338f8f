"""The page of a sweep while it is painted, and who makes it."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from support.rundirs import make_run, make_sweep

from nst.report.live_page import live_page
from nst.report.page import write_page
from nst.runs.painting import Painting

SEEDS = [[f"seed={seed}"] for seed in range(4)]
RENEWED = re.compile('"unfinished":(true|false)')


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep whose first cell is finished, whose second is being painted, and whose last has not begun."""
    sweep = make_sweep(tmp_path / "outputs/sweep", "a/grid", SEEDS[:1], size=8)
    for number, status in ((1, "running"), (2, "running"), (3, "running")):
        make_run(sweep / str(number), overrides=["experiment=a/grid", *SEEDS[number]], status=status)
    (sweep / "3/run.json").unlink()
    Image.new("RGB", (8, 8), "teal").save(sweep / "1" / Painting.PICTURE)
    (sweep / "1/.losses-a1b2c3d4.csv").write_text(
        "iteration,total,content,style,tv\n0,9,1,1,1\n1,8,1,1,1\n2,7"
    )
    started = json.loads((sweep / "1/run.json").read_text())["started"]
    told = {"iteration": 1, "iterations": 4, "table": ".losses-a1b2c3d4.csv", "losses": {"total": 8.0}}
    Painting(started=started, at=started, **told).write(sweep / "1")  # type: ignore[arg-type]
    return sweep


def test_it_shows_what_there_is_and_how_far_it_is(sweep: Path) -> None:
    page = write_page(sweep, painting=True).read_text()
    assert RENEWED.findall(page) == ["true"]
    assert "4 canvases, 2 painting, 1 waiting" in page
    assert "37% painted at" in page  # (1 + 1/2 + 0 + 0) / 4
    assert page.count("iteration 2 of 4") >= 1
    assert page.count('<img alt="canvas of') == 2
    data = json.loads(re.findall('id="data">(.*?)</script>', page, re.DOTALL)[0])
    assert [cell["results"].get("total") for cell in data["cells"]][1:] == [8.0, None, None]
    assert data["cells"][1]["curve"]["total"] == [9.0, 8.0]

    page = write_page(sweep).read_text()  # as of a sweep that was killed
    assert RENEWED.findall(page) == ["false"]
    assert "4 canvases, 2 unfinished, 1 missing" in page
    assert "painted at" not in page
    assert page.count('<img alt="canvas of') == 1


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def break_off(folder: Path, when: Callable[[], object]) -> None:
    with live_page(folder, folder.parent):
        time.sleep(0.1)
        wait_for(when)
        raise KeyboardInterrupt


def test_it_is_made_while_painting_and_never_after(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst.report.live_page.SECONDS_TO_BEGIN", 0.01)
    monkeypatch.setattr("nst.report.live_page.SECONDS_A_PAGE", 0.01)
    monkeypatch.setattr("nst.report.live_page.MOST_OF_TIME", 1.0)
    page, index = sweep / "index.html", sweep.parent / "index.html"
    with live_page(sweep, sweep.parent):
        wait_for(index.is_file)
        assert RENEWED.findall(page.read_text()) == ["true"]
        page.unlink()
        wait_for(page.is_file)  # again and again
    page.write_text("the final one")
    time.sleep(0.1)
    assert page.read_text() == "the final one"

    with pytest.raises(KeyboardInterrupt):
        break_off(sweep, lambda: page.read_text() != "the final one")
    assert RENEWED.findall(page.read_text()) == ["false"]  # which is loaded no more


def test_without_anything_to_show_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst.report.live_page.SECONDS_TO_BEGIN", 0.01)
    with pytest.raises(KeyboardInterrupt):
        break_off(tmp_path / "none", lambda: True)
    assert list(tmp_path.iterdir()) == []
