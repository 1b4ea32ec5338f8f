"""The page of a sweep, opened from disk in a real browser."""

import csv
import json
import math
import re
import shutil
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from support.browser import Open, in_browser, level, levels, slide
from support.rundirs import make_collection, make_run, make_sweep

from nst.errors import NstError
from nst.report.page import write_page
from nst.report.page.frame_strip import MOST_FRAMES, spread

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028&lt;\"'"


# Videos.


@in_browser
def test_the_slider_shows_all_cells_at_the_same_iteration(open_page: Open, sweep: Path) -> None:
    page = open_page(sweep / "index.html")
    slider, moment = page.get_by_role("slider"), page.locator("#moment")
    expect(moment).to_have_text("iteration 100 of 100")
    assert levels(page) == pytest.approx([level(number, 100) for number in range(6)], abs=4)
    for position, iteration in ((0, 0), (3, 30), (9, 90), (10, 100)):
        slide(page, position)
        expect(moment).to_have_text(f"iteration {iteration} of 100")
        expect(slider).to_have_attribute("aria-valuetext", f"iteration {iteration} of 100")
        page.wait_for_timeout(50)
        assert levels(page) == pytest.approx([level(number, iteration) for number in range(6)], abs=4)


@in_browser
def test_the_slider_takes_the_arrow_keys(open_page: Open, sweep: Path) -> None:
    page = open_page(sweep / "index.html")
    slider = page.get_by_role("slider")
    slider.press("Home")
    expect(page.locator("#moment")).to_have_text("iteration 0 of 100")
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    slider.press("ArrowLeft")
    expect(page.locator("#moment")).to_have_text("iteration 10 of 100")


@in_browser
def test_play_goes_on_pauses_and_stops_at_the_end(open_page: Open, sweep: Path) -> None:
    page = open_page(sweep / "index.html")
    page.clock.install(time=0)
    page.clock.pause_at(1)  # from now on time passes when the test says so
    slider = page.get_by_role("slider")
    expect(slider).to_have_value("10")  # nothing moves by itself
    page.clock.run_for(5000)
    expect(slider).to_have_value("10")
    page.get_by_role("button", name="Play").click()
    expect(slider).to_have_value("0")
    page.clock.run_for(3 * _step(page))
    expect(slider).to_have_value("3")
    page.get_by_role("button", name="Pause").click()
    page.clock.run_for(5000)
    expect(slider).to_have_value("3")
    page.get_by_label("Speed").select_option("4×")
    page.get_by_role("button", name="Play").click()
    page.clock.run_for(20 * _step(page))
    expect(slider).to_have_value("10")
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def _step(page: Page) -> int:
    """Milliseconds from one frame to the next, at the speed chosen."""
    return int(1000 / float(page.get_by_label("Speed").input_value())) + 1


def test_moments_are_dense_at_the_start_and_few() -> None:
    moments = spread(tuple(range(0, 2500, 10)), MOST_FRAMES)
    assert 20 <= len(moments) <= MOST_FRAMES
    assert moments[:4] == [0, 10, 20, 30]
    assert moments[-1] == 2490
    gaps = np.diff(moments)
    assert gaps[-1] > 20 * gaps[0]
    assert spread((0, 7), MOST_FRAMES) == [0, 7]
    assert spread((0,), MOST_FRAMES) == [0]
    assert spread((), MOST_FRAMES) == []


@in_browser
def test_a_page_of_very_many_canvases_leaves_their_videos_to_the_sheet(
    open_page: Open, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(sweep, tmp_path / "sweep")
    monkeypatch.setattr("nst.report.page.MOST_STRIPS", 5)
    monkeypatch.setattr("nst.report.page.frame_strip.MOST_STRIPS", 5)
    monkeypatch.setattr("nst.report.page.pictures.SIDES", ((5, 512), (6, 16)))
    page = open_page(write_page(tmp_path / "sweep"))
    assert levels(page) == pytest.approx([level(number, 100) for number in range(6)], abs=4)
    sides = page.locator("button.canvas img").evaluate_all("all => all.map(one => one.naturalWidth)")
    assert sides == [16] * 6
    for button in page.locator(".play").all():
        expect(button).to_be_disabled()
    expect(page.get_by_text("videos of more than 5 canvases would make this page too large")).to_be_visible()
    page.locator("button.canvas").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator(".chart .curve")).to_have_count(6)


@in_browser
def test_cells_of_different_lengths_hold_their_last(open_page: Open, tmp_path: Path) -> None:
    for number, (iterations, every) in enumerate(((21, 5), (61, 10))):
        run = make_run(tmp_path / str(number), overrides=[f"iterations={iterations}", f"save_every={every}"])
        frames = json.loads((run / "run.json").read_text())["frames"]
        shown = [np.full((32, 32, 3), 4 * at, np.uint8) for at in frames]
        imageio.mimwrite(run / "canvas.mp4", shown, fps=30, codec="libx264")
        Image.fromarray(shown[-1]).save(run / "canvas.png")
    page = open_page(write_page(tmp_path))
    moments = [0, 5, 10, 15, 20, 30, 40, 50, 60]
    for position, (first, second) in (
        (1, (5, 0)), (2, (10, 10)), (3, (15, 10)), (4, (20, 20)), (5, (20, 30)), (8, (20, 60)),
    ):  # fmt: skip
        slide(page, position)
        expect(page.locator("#moment")).to_have_text(f"iteration {moments[position]} of 60")
        page.wait_for_timeout(50)
        assert levels(page) == pytest.approx([4 * first, 4 * second], abs=6)


# Keys and the dialog.


@in_browser
def test_keys_play_move_and_enlarge(open_page: Open, sweep: Path) -> None:
    page = open_page(sweep / "index.html")
    cells = page.locator("button.canvas")
    dialog = page.get_by_role("dialog")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Play")).to_be_visible()

    page.get_by_label("content layer").focus()
    page.keyboard.press("Tab")
    expect(cells.nth(0)).to_be_focused()
    moves = {"ArrowRight": 1, "ArrowDown": 4, "End": 4, "ArrowLeft": 3, "ArrowUp": 0}
    for key, number in moves.items():
        page.keyboard.press(key)
        expect(cells.nth(number)).to_be_focused()
    page.keyboard.press("ArrowLeft")  # there is none
    page.keyboard.press("ArrowRight")
    expect(cells.nth(1)).to_be_focused()
    page.keyboard.press("Space")  # plays, and does not press the canvas
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(dialog).to_be_hidden()
    page.keyboard.press("Space")

    page.keyboard.press("Enter")
    expect(dialog.get_by_role("heading", name="adam · 2 · conv3_1")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading", name="adam · 4 · conv5_1")).to_be_visible()
    page.keyboard.press("Space")
    expect(dialog.get_by_role("button", name="Pause")).to_be_visible()
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(cells.nth(2)).to_be_focused()


@in_browser
def test_the_dialog_shows_a_cell_large_in_step_with_what_it_is(open_page: Open, sweep: Path) -> None:
    page = open_page(sweep / "index.html")
    slide(page, 5)
    page.locator("button.canvas").nth(4).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("iteration 50 of 100")
    drawn = "node => Array.from(node.getContext('2d').getImageData(16, 16, 1, 1).data)"
    assert dialog.locator("canvas").evaluate(drawn)[0] == pytest.approx(level(4, 50), abs=4)
    assert dialog.locator("#large-canvas").bounding_box()["width"] > 400
    for name, value in (
        ("optimizer.name", "lbfgs"), ("content_layers", "conv3_1"), ("device", "cpu"), ("state", "finished"),
    ):  # fmt: skip
        expect(dialog.locator(f"dt:text-is('{name}') + dd").first).to_have_text(value)
    record = json.loads((sweep / "4/run.json").read_text())
    shown = float(dialog.locator("dt:text-is('style distance') + dd").inner_text())
    assert shown == pytest.approx(record["scores"]["style_distance"], rel=1e-3)
    for kind in ("content", "style"):
        expect(dialog.get_by_role("img", name=f"{kind} image")).to_have_js_property("naturalWidth", 32)
    expect(dialog.get_by_text("save_every")).to_be_hidden()
    dialog.get_by_text("All parameters").click()
    expect(dialog.get_by_text("save_every")).to_be_visible()


# Curves.


def scale(page: Page, chart: int, axis: str) -> tuple[list[float], list[float]]:
    """The values and the places of the labels on an axis of a chart."""
    labels = page.locator(".chart").nth(chart).locator(f"text.{axis}")
    got = labels.evaluate_all(f"all => all.map(one => [one.dataset.value, one.getAttribute('{axis}')])")
    values, places = zip(*((float(value), float(place)) for value, place in got), strict=True)
    return list(values), list(places)


@in_browser
@pytest.mark.parametrize("term", ["total", "content"])
def test_curves_are_the_losses_on_logarithmic_axes(open_page: Open, sweep: Path, term: str) -> None:
    page = open_page(sweep / "index.html")
    page.get_by_label("Curves").select_option(term)
    values, heights = scale(page, 1, "y")
    iterations, places = scale(page, 1, "x")
    per_decade, top = np.polyfit(np.log10(values), np.asarray(heights) - 4, 1)  # a label's line is 4 lower
    across, left = np.polyfit(np.log10(np.asarray(iterations) + 1), places, 1)
    for column, number in enumerate((3, 4, 5)):
        path = page.locator(".chart").nth(1).locator(".curve path.line").nth(column)
        points = np.array(re.findall(r"[\d.]+ [\d.]+", path.get_attribute("d") or ""))
        drawn = np.array([point.split() for point in points], float)
        with (sweep / str(number) / "losses.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(drawn) == len(rows) == 101
        for row in (0, 7, 50, 100):
            height = top + per_decade * math.log10(float(rows[row][term]))
            assert drawn[row] == pytest.approx([left + across * math.log10(row + 1), height], abs=0.2)


@in_browser
def test_curves_are_marked_at_the_slider_and_named_when_pointed_at(open_page: Open, sweep: Path) -> None:
    page = open_page(sweep / "index.html")
    chart = page.locator(".chart").first
    expect(chart.locator(".curve text")).to_have_text(["0 · conv1_1", "2 · conv3_1", "4 · conv5_1"])
    slide(page, 1)
    iterations, places = scale(page, 0, "x")
    assert float(chart.locator(".now").get_attribute("x1")) == pytest.approx(
        places[iterations.index(10)], abs=0.1
    )
    with (sweep / "1/losses.csv").open() as file:
        value = float(list(csv.DictReader(file))[10]["total"])
    output = chart.locator("output")
    expect(output).to_have_text("")
    chart.locator(".curve").nth(1).focus()
    expect(output).to_have_text(re.compile(r"^2 · conv3_1: [\d.,]+ at 10$"))
    said = float(output.inner_text().split(": ")[1].split(" at ")[0].replace(",", ""))
    assert said == pytest.approx(value, rel=1e-3)
    page.keyboard.press("ArrowDown")
    expect(output).to_have_text(re.compile("^4 · conv5_1"))
    page.locator("button.canvas").nth(0).hover()
    expect(output).to_have_text(re.compile("^0 · conv1_1"))


# Numbers.


@in_browser
def test_the_table_sorts_by_its_heads(open_page: Open, sweep: Path) -> None:
    page = open_page(sweep / "index.html")
    records = [json.loads((sweep / str(number) / "run.json").read_text()) for number in range(6)]
    head = page.get_by_role("columnheader", name="LPIPS to content")
    expect(head).to_have_attribute("aria-sort", "none")
    rows = page.locator(".numbers tbody tr")

    def order() -> list[int]:
        return [int(cell) for cell in rows.evaluate_all("rows => rows.map(row => row.dataset.cell)")]

    by_score = sorted(range(6), key=lambda number: records[number]["scores"]["lpips_content"])
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert order() == by_score
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert order() == by_score[::-1]
    page.get_by_role("columnheader", name="cell").get_by_role("button").press("Space")
    assert order() == list(range(6))
    expect(head).to_have_attribute("aria-sort", "none")
    shown = rows.nth(2).locator("td.number").first
    assert float(shown.inner_text()) == pytest.approx(records[2]["scores"]["lpips_content"], rel=1e-3)


# What there is to say of a sweep.


@in_browser
def test_the_page_names_the_grid_and_how_to_paint_it_again(open_page: Open, sweep: Path) -> None:
    page = open_page(sweep / "index.html")
    expect(page).to_have_title("A grid of six")
    expect(page.get_by_role("heading", name="A grid of six", level=1)).to_be_visible()
    expect(page.locator("p.name")).to_have_text("readme/grid")
    expect(page.locator("p.facts").first).to_contain_text("101 iterations")
    grid = page.get_by_role("table", name="Canvases")
    for name in ("content layer", "0 · conv1_1", "2 · conv3_1", "4 · conv5_1"):
        expect(grid.get_by_role("columnheader", name=name, exact=True)).to_be_visible()
    for name in ("adam", "lbfgs"):
        expect(grid.get_by_role("rowheader", name=name)).to_be_visible()
    expect(grid.locator("button.canvas")).to_have_count(6)
    expect(page.locator(".command code")).to_have_text("python run.py -m experiment=readme/grid")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()


@in_browser
def test_cells_say_what_became_of_them(open_page: Open, tmp_path: Path) -> None:
    sweep = make_sweep(
        tmp_path / "sweep", "broken", [[f"seed={n // 2}", f"optimizer.lr=0.{n % 2 + 1}"] for n in range(7)]
    )
    for number, status in ((1, "failed"), (2, "running")):
        overrides = [f"seed={number // 2}", f"optimizer.lr=0.{number % 2 + 1}"]
        shutil.rmtree(sweep / str(number))
        make_run(sweep / str(number), overrides=["experiment=broken", *overrides], status=status)
    (sweep / "3/run.json").write_text('{"status": "fin')
    (sweep / "4/canvas.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    record = json.loads((sweep / "5/run.json").read_text())
    (sweep / "5/run.json").write_text(json.dumps(record | {"taken_from": "/lab/outputs/earlier/17"}))
    (sweep / "6/canvas.mp4").write_bytes(b"no video")
    (sweep / "6/losses.csv").unlink()
    page = open_page(write_page(sweep))
    cells = page.locator(".canvases tbody td")
    for number, text in enumerate(
        (
            "",
            "failed the total loss is nan at iteration 7; lower optimizer.lr=0.06",
            "unfinished",
            "missing 3/run.json",
            "missing 4/canvas.png",
            "taken from outputs/earlier/17",
            "",
            "not in this sweep",
        )
    ):
        assert " ".join(cells.nth(number).inner_text().replace("★\nA|B", "").split()) == text
    expect(page.locator("p.facts").last).to_contain_text("7 canvases, 1 failed, 1 unfinished, 2 missing")
    states = page.locator(".numbers td.state")
    expect(states.nth(1)).to_have_text(
        "failed: the total loss is nan at iteration 7; lower optimizer.lr=0.06"
    )
    expect(states.nth(5)).to_have_text("finished: taken from /lab/outputs/earlier/17")
    expect(page.locator(".chart").nth(2).locator(".curve")).to_have_count(2)
    expect(page.locator(".chart").nth(3)).to_be_hidden()
    slide(page, 0)
    expect(cells.nth(6).locator("button.canvas")).to_have_class(re.compile("absent"))  # and not made up
    cells.nth(1).locator("button.canvas").click()
    expect(page.get_by_role("dialog")).to_contain_text("total loss is nan")


@in_browser
def test_images_stand_where_they_vary_and_are_in_the_file_once(open_page: Open, tmp_path: Path) -> None:
    def shown(name: str, jobs: list[list[str]]) -> Page:
        page = open_page(write_page(make_sweep(tmp_path / name, name, jobs, iterations=2)))
        for image in page.get_by_role("img", name=re.compile("^(content|style) image$")).all():
            expect(image).to_have_js_property("naturalWidth", 32)
        return page

    pairs = ["images.content=data/cat.png", "images.content=data/pagoda.jpg"]
    rows = shown("rows", [[pair, f"seed={seed}"] for pair in pairs for seed in range(3)])
    for row in (0, 1):
        expect(rows.locator(".canvases tbody tr").nth(row).locator("td.image img")).to_have_count(2)
    columns = shown("columns", [[f"seed={seed}", pair] for seed in range(3) for pair in pairs])
    heads = columns.locator(".canvases tbody th")
    assert heads.all_inner_texts()[:2] == ["content", "style"]
    shared = shown("shared", [[f"seed={seed}"] for seed in range(3)])
    expect(shared.locator("header .inputs img")).to_have_count(2)
    variants = ["variant=adam", "variant=adam_second_pair"]
    cells = shown("cells", [[variant, pair] for variant in variants for pair in pairs])
    expect(cells.locator(".canvases img")).to_have_count(4)
    for path in tmp_path.glob("*/index.html"):
        uris = re.findall(r"data:image/webp;base64,[\w+/=]+", path.read_text())
        assert len(uris) == len(set(uris))


@in_browser
def test_mlflow_runs_are_linked_or_their_server_is_named(open_page: Open, tmp_path: Path) -> None:
    def track(folder: Path, uri: str, run_id: str) -> None:
        record = {"uri": uri, "experiment_id": "3", "run_id": run_id}
        (folder / "mlflow.json").write_text(json.dumps(record))

    sweep = make_sweep(tmp_path / "sweep", "tracked", [[f"seed={seed}"] for seed in range(3)], iterations=2)
    track(sweep, "http://someone:secret@lab:5000/", "ab")
    track(sweep / "0", "http://someone:secret@lab:5000/", "cd")
    track(sweep / "1", f"sqlite:///{tmp_path}/mlflow.db", "ef")
    track(sweep / "2", "javascript:alert(1)//", "99")
    page = open_page(write_page(sweep))
    address = "http://lab:5000/#/experiments/3/runs/{}?workflowType=machine_learning"
    expect(page.get_by_role("link", name="cd")).to_have_attribute("href", address.format("cd"))
    expect(page.get_by_role("link", name="MLflow")).to_have_attribute("href", address.format("ab"))
    expect(page.get_by_role("link")).to_have_count(2)
    for run_id in ("ef", "99"):
        expect(page.locator(".numbers code", has_text=run_id)).to_be_visible()
    command = f"mlflow ui --host 127.0.0.1 --backend-store-uri sqlite:///{tmp_path}/mlflow.db"
    expect(page.locator("footer code")).to_have_text(command)
    assert "secret" not in page.content()


@in_browser
def test_a_sweep_of_sweeps_is_one_page_in_its_order(open_page: Open, tmp_path: Path) -> None:
    seeds = [[f"seed={seed}"] for seed in (1, 2)]
    layers = [["content_layers=conv1_1"], ["content_layers=[conv2_1,conv4_1]"], ["content_layers=none"]]
    folder = make_collection(tmp_path / "all", {"z/last": seeds, "a/first": layers, "m/middle": [[]]})
    sweep = json.loads((folder / "sweep.json").read_text())
    sweep["grids"].append("b/not_begun")
    (folder / "sweep.json").write_text(json.dumps(sweep))
    page = open_page(write_page(folder))
    titles = [f"What {name} asks" for name in ("z/last", "a/first", "m/middle")]
    expect(page.get_by_role("heading", level=1)).to_have_text(["experiment=glob(readme/*)"])
    expect(page.get_by_role("heading", level=2)).to_have_text([*titles, "b/not_begun"])
    expect(page.get_by_role("navigation").get_by_role("link")).to_have_text([*titles, "b/not_begun"])
    expect(page.locator("#grid-3")).to_contain_text("No runs yet.")
    expect(page.locator("button.canvas")).to_have_count(6)
    for chart in page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
        expect(chart.locator("svg")).to_have_count(1)
    expect(page.locator(".chart")).to_have_count(3)
    expect(page.locator(".command code").first).to_have_text(sweep["command"])
    page.set_viewport_size({"width": 1280, "height": 500})
    page.get_by_role("link", name=titles[2]).click()
    expect(page.get_by_role("heading", name=titles[2])).to_be_in_viewport()
    page.locator("#grid-2 button.canvas").click()
    expect(page.locator("#large-title")).to_have_text("0 · conv1_1")


# Whatever is in the files.


@in_browser
def test_text_from_files_is_text(open_page: Open, tmp_path: Path) -> None:
    overrides = [[f"+note={NASTY}", f"seed={seed}"] for seed in (1, 2)]
    sweep = make_sweep(tmp_path / "sweep", NASTY, overrides, title=f"{NASTY} $main", iterations=2)
    make_run(sweep / "2", overrides=["+note=plain", "seed=1"], status="failed")
    record = json.loads((sweep / "2/run.json").read_text()) | {
        "error": NASTY,
        "device": NASTY,
        "identity": "\ud800",
    }
    (sweep / "2/run.json").write_text(json.dumps(record))
    page = open_page(write_page(sweep))
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{NASTY} $main".replace("\u2028", " "))
    expect(page.locator("button.canvas span")).to_contain_text("<script>alert(1)</script>")
    page.locator("button.canvas").last.click()
    expect(page.get_by_role("dialog")).to_contain_text("<script>alert(1)</script>")
    assert page.locator("script").count() == 2
    assert page.locator("img[onerror]").count() == 0


@in_browser
@pytest.mark.parametrize(("size", "iterations"), [(33, 12), (17, 1), (200, 12)])
def test_odd_and_single_canvases(open_page: Open, tmp_path: Path, size: int, iterations: int) -> None:
    """No title, no losses, no name: a folder with one run in it."""
    run = make_run(tmp_path / "0", overrides=["seed=0"], size=size, iterations=iterations)
    (run / "losses.csv").unlink()
    page = open_page(write_page(tmp_path))
    expect(page.get_by_role("heading", level=1)).to_have_text(tmp_path.name)
    canvas = page.locator("button.canvas")
    assert canvas.locator("img").evaluate("image => image.naturalWidth") == size
    pixelated = canvas.locator("img").evaluate("image => getComputedStyle(image).imageRendering")
    assert pixelated == ("pixelated" if size < 96 else "auto")
    assert canvas.bounding_box()["width"] >= 160
    expect(page.locator(".chart")).to_be_hidden()
    if iterations > 1:
        slide(page, 0)
        shown = canvas.locator("canvas")
        expect(shown).to_be_visible()
        assert shown.get_attribute("width") == str(min(size, 160))
        frame = np.asarray(imageio.mimread(run / "canvas.mp4")[0], float)[:size, :size]
        data = shown.evaluate(
            "node => Array.from(node.getContext('2d').getImageData(0,0,node.width,node.height).data)"
        )
        drawn = np.asarray(data, float).reshape(min(size, 160), -1, 4)[..., :3]
        assert drawn.mean() == pytest.approx(frame.mean(), abs=4)
    else:
        expect(page.get_by_role("slider")).to_be_disabled()


@in_browser
def test_the_page_is_dark_where_that_is_preferred_and_fits_a_phone(open_page: Open, sweep: Path) -> None:
    def paper(page: Page) -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return int(re.findall(r"\d+", colour)[0])

    assert paper(open_page(sweep / "index.html", color_scheme="light")) > 240
    assert paper(open_page(sweep / "index.html", color_scheme="dark")) < 40
    phone = open_page(sweep / "index.html", viewport={"width": 390, "height": 800})
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    expect(phone.get_by_role("button", name="Play")).to_be_in_viewport()
    phone.locator("button.canvas").first.click()
    box = phone.get_by_role("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_a_folder_that_is_no_sweep_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    for folder, reason in ((tmp_path / "nowhere", "no such folder"), (tmp_path, "no runs")):
        with pytest.raises(NstError, match=reason):
            write_page(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_cell_takes_less_than_100_kb(tmp_path: Path) -> None:
    """Of noise, which takes the most bytes."""
    sizes = []
    for cells in (1, 3):
        jobs = [[f"seed={seed}"] for seed in range(cells)]
        sweep = make_sweep(tmp_path / f"{cells}", "noise", jobs, size=128, iterations=300)
        sizes.append(write_page(sweep).stat().st_size)
    assert (sizes[1] - sizes[0]) / 2 < 100_000
    assert sizes[0] > 30_000


@in_browser
def test_a_page_of_a_sweep_that_is_painted_comes_anew_until_it_is_over(
    open_page: Open, tmp_path: Path
) -> None:
    sweep = make_sweep(tmp_path / "sweep", "going", [[f"seed={seed}"] for seed in range(2)], iterations=2)
    make_run(sweep / "2", overrides=["seed=2"], status="running")
    record = json.loads((sweep / "sweep.json").read_text())
    (sweep / "sweep.json").write_text(json.dumps(record | {"ended": None}))
    write_page(sweep)
    page = open_page(sweep / "index.html", "#0.seed=rows")
    expect(page.locator("p.facts").last).to_contain_text("3 canvases, 1 unfinished")
    page.clock.install(time=0)
    page.reload()
    shutil.rmtree(sweep / "2")
    make_run(sweep / "2", overrides=["seed=2"], iterations=2)
    (sweep / "sweep.json").write_text(json.dumps(record))
    write_page(sweep)
    page.clock.run_for(25_000)
    expect(page.locator("p.facts").last).to_have_text(re.compile("^3 canvases · started"))
    expect(page.get_by_role("combobox", name="seed").first).to_have_value("rows")
    reloaded = page.evaluate("performance.timeOrigin")
    page.clock.run_for(60_000)
    assert page.evaluate("performance.timeOrigin") == reloaded
