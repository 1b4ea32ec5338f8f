"""The page of a sweep that is painted, and where its canvases change their size, in a real browser."""

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect
from support.browser import Open, in_browser
from support.rundirs import make_run, make_sweep

from nst.report.page import write_page

LATER = 11 * 60_000  # ms


def _record(run: Path, **values: Any) -> None:
    path = run / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _star(page: Page, number: int) -> None:
    page.locator("button.canvas").nth(number).focus()
    page.keyboard.press("s")


@in_browser
def test_stars_outlive_the_end_of_a_cell(open_page: Open, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", "a/grid", [["seed=0"], ["seed=1"]], size=8)
    whole = json.loads((sweep / "1/run.json").read_text())
    for number in "01":
        _record(sweep / number, status="running", identity=None, ended=None)
    write_page(sweep, painting=True)
    page = open_page(sweep / "index.html")
    _star(page, 1)
    expect(page.locator("td.starred")).to_have_count(1)

    _record(sweep / "1", **whole)
    write_page(sweep)
    page.reload()
    expect(page.locator("td.starred button.canvas")).to_have_attribute("data-cell", "1")
    kept = page.evaluate("Object.keys(localStorage)")
    assert kept == [f"nst/{whole['identity']}"]
    _star(page, 1)  # taken back, it stays so
    page.reload()
    expect(page.locator("td.starred")).to_have_count(0)


@in_browser
def test_a_page_that_is_left_behind_says_so_and_rests(open_page: Open, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", "a/grid", [["seed=0"]], size=8)
    make_run(sweep / "1", overrides=["experiment=a/grid", "seed=1"], status="running")
    write_page(sweep, painting=True)
    page = open_page(sweep / "index.html")
    expect(page.locator("#stale")).to_be_hidden()
    page.clock.install()
    page.reload()
    page.evaluate("window.here = true")
    page.clock.run_for(30_000)
    page.wait_for_function("!window.here")  # it came anew

    page.clock.set_system_time(page.evaluate("Date.parse(data.made)") + LATER)
    page.reload()
    expect(page.locator("#stale")).to_contain_text("Not renewed since 20")
    page.evaluate("window.here = true")
    page.clock.run_for(120_000)
    assert page.evaluate("window.here")


@in_browser
def test_curves_are_marked_where_the_canvas_grows(open_page: Open, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", "a/grid", [["seed=0"], ["seed=1"]], size=32)
    _record(sweep / "0", scales={"16": 5, "23": 5, "32": 10})
    write_page(sweep)
    page = open_page(sweep / "index.html")
    chart = page.locator(".chart").first
    chart.scroll_into_view_if_needed()
    assert chart.locator("text.scale").all_text_contents() == ["23 px", "32 px"]
    marks = [float(line.get_attribute("x1") or 0) for line in chart.locator("line.scale").all()]
    assert marks == sorted(marks)
    assert len(marks) == 2
