"""Two canvases compared on the page, stars and notes, and the commands of a cell, in a real browser."""

import io
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from support.browser import Open, in_browser, level
from support.command import SMALL, command
from support.rundirs import make_run, make_sweep

from nst.report.page import write_page


def shown(page: Page, x: float, y: float) -> list[int]:
    """The colour that the screen shows at a share of the stage."""
    box = page.locator("#stage .pane").first.bounding_box()
    assert box is not None
    page.wait_for_timeout(100)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return list(shot.getpixel((int(box["x"] + x * box["width"]), int(box["y"] + y * box["height"]))))


def pick(page: Page, one: int, other: int) -> None:
    for number in (one, other):
        page.locator("button.canvas").nth(number).focus()
        page.keyboard.press("c")


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    """Canvases of 40 x 24 whose right halves differ by 30 levels of red, and a third of another size."""
    for number, red in enumerate((100, 130, 50)):
        run = make_run(tmp_path / str(number), overrides=[f"seed={number}"], iterations=2)
        pixels = np.full((24, 40, 3), 100, np.uint8)
        pixels[:, 20:, 0] = red
        Image.fromarray(pixels if number < 2 else pixels[:12, ::-1]).save(run / "canvas.png")
    write_page(tmp_path)
    return tmp_path


@in_browser
@pytest.mark.parametrize("width", [1400, 390])
def test_two_cells_are_compared_side_by_side_by_slider_and_as_their_difference(
    open_page: Open, halves: Path, width: int
) -> None:
    page = open_page(halves / "index.html", viewport={"width": width, "height": 1000})
    pick(page, 0, 1)
    expect(page.locator("#compare")).to_be_visible()
    for side, number in (("one", "0"), ("other", "1")):
        expect(page.locator(f"#{side}")).to_have_value(number)
    images = page.locator("#stage img")
    for at in (0, 1):
        expect(images.nth(at)).to_have_js_property("naturalWidth", 40)
        expect(images.nth(at)).to_have_attribute("src", f"{halves.as_uri()}/{at}/canvas.png")
    box = page.locator("#stage .pane").first.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(40 / 24, rel=0.02)
    first, second = (page.locator("#stage .pane").nth(at).bounding_box() for at in (0, 1))
    assert second["x"] > first["x"] + first["width"] - 1
    assert second["x"] + second["width"] <= width

    page.keyboard.press("2")
    assert shown(page, 0.75, 0.5) == [130, 100, 100]
    page.get_by_role("slider", name="Slider between").fill("90")
    assert shown(page, 0.75, 0.5) == [100, 100, 100]
    page.keyboard.press("3")
    assert shown(page, 0.25, 0.5) == [0, 0, 0]
    assert shown(page, 0.75, 0.5) == [30, 0, 0]
    page.get_by_label("Difference times").select_option("4")
    assert shown(page, 0.75, 0.5) == [120, 0, 0]
    page.keyboard.press("Escape")
    expect(page.locator("#compare")).to_be_hidden()
    expect(page.locator("button.canvas").nth(1)).to_be_focused()


@in_browser
def test_flicker_shows_one_after_the_other_and_by_hand_where_motion_is_unwanted(
    open_page: Open, halves: Path
) -> None:
    page = open_page(halves / "index.html", "#compare=0,1&view=flicker", reduced_motion="reduce")
    second = page.locator("#stage .pane").nth(1)
    animation = "node => getComputedStyle(node).animationName"
    assert second.evaluate(animation) == "none"
    assert shown(page, 0.75, 0.5) == [130, 100, 100]
    page.keyboard.press("f")
    assert shown(page, 0.75, 0.5) == [100, 100, 100]
    moving = open_page(halves / "index.html", "#compare=0,1&view=flicker")
    assert moving.locator("#stage .pane").nth(1).evaluate(animation) == "flicker"


@in_browser
def test_both_are_zoomed_in_step_to_the_pixel(open_page: Open, halves: Path) -> None:
    page = open_page(halves / "index.html", "#compare=0,1", viewport={"width": 1400, "height": 1000})
    matrix = "all => all.map(node => getComputedStyle(node).transform)"
    pictures = page.locator("#stage .picture")
    for _ in range(20):
        page.keyboard.press("+")
    expect(page.locator("#zoom")).to_have_text("6400%")
    one, other = pictures.evaluate_all(matrix)
    assert one == other != "matrix(1, 0, 0, 1, 0, 0)"
    page.keyboard.press("Shift+ArrowRight")
    moved = pictures.evaluate_all(matrix)
    assert moved[0] == moved[1] != one
    rendering = "node => getComputedStyle(node).imageRendering"
    assert page.locator("#stage img").first.evaluate(rendering) == "pixelated"
    box = page.locator("#stage .pane").nth(1).bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.wheel(0, 200)
    expect(page.locator("#zoom")).not_to_have_text("6400%")
    page.keyboard.press("0")
    assert pictures.evaluate_all(matrix) == ["matrix(1, 0, 0, 1, 0, 0)"] * 2


@in_browser
def test_keys_choose_the_cells_and_the_iteration_and_the_address_keeps_them(
    open_page: Open, sweep: Path
) -> None:
    page = open_page(sweep / "index.html")
    page.locator("td").filter(has=page.locator("button.canvas[data-cell='1']")).hover()
    page.get_by_role("button", name="Compare (C): adam · 2 · conv3_1").click()
    expect(page.locator("#picked")).to_have_text("adam · 2 · conv3_1")
    page.locator("button.canvas").nth(3).click()
    page.keyboard.press("c")
    one, other = page.locator("#one"), page.locator("#other")
    expect(one).to_have_value("1")
    expect(other).to_have_value("3")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    expect(one).to_have_value("0")
    expect(other).to_have_value("4")
    page.keyboard.press("x")
    page.keyboard.press("2")
    for _ in range(5):
        page.keyboard.press(",")
    for view in (page, None):
        if view is None:  # only now: a browser may put off the films of a page that is behind another
            view = open_page(sweep / "index.html", page.evaluate("location.hash"))
        expect(view.locator("#one")).to_have_value("4")
        expect(view.locator("#other")).to_have_value("0")
        expect(view.locator("#stage")).to_have_attribute("data-view", "slider")
        expect(view.locator("#compare .moment")).to_have_text("iteration 50 of 100")
        assert shown(view, 0.25, 0.5)[0] == pytest.approx(level(4, 50), abs=4)
        assert shown(view, 0.75, 0.5)[0] == pytest.approx(level(0, 50), abs=4)
        for film in view.locator("#stage video").all():  # at full size, from the films beside the page
            expect(film).to_be_visible()
            expect(film).to_have_js_property("videoWidth", 32)


@in_browser
def test_what_differs_between_two_cells_is_beside_them(open_page: Open, sweep: Path) -> None:
    page = open_page(sweep / "index.html", "#compare=0,4")
    rows = page.locator("#differences tbody tr")
    told = {
        row[0]: row[1:]
        for row in rows.evaluate_all("all => all.map(row => [...row.cells].map(cell => cell.innerText))")
    }
    assert told["optimizer.name"] == ["adam", "lbfgs"]
    assert told["content_layers"] == ["conv1_1", "conv3_1"]
    assert "size" not in told
    scores = [
        json.loads((sweep / n / "run.json").read_text())["scores"]["style_distance"] for n in ("0", "4")
    ]
    assert [float(value) for value in told["style distance"]] == pytest.approx(scores, rel=1e-3)
    better = page.locator("#differences tr", has_text="style distance").locator(".better")
    expect(better).to_have_text(told["style distance"][scores.index(min(scores))])
    links = page.locator("#differences").get_by_role("link")
    assert links.evaluate_all("all => all.map(one => one.getAttribute('href'))") == [
        "0/canvas.png", "0/canvas.mp4", "4/canvas.png", "4/canvas.mp4",
    ]  # fmt: skip


@in_browser
def test_stars_and_notes_survive_a_reload_and_are_copied_as_folders(open_page: Open, sweep: Path) -> None:
    page = open_page(sweep / "index.html")
    page.locator("button.canvas").nth(2).focus()
    page.keyboard.press("s")
    page.locator("button.canvas").nth(5).click()
    page.get_by_label("Note").fill("the sky, s and c and 1 are letters")
    page.keyboard.press("Escape")
    page.wait_for_function("!location.hash.includes('cell')")
    page.reload()
    expect(page.locator("#kept")).to_have_text("★ 1 starred, 1 with a note")
    expect(page.locator("td.starred")).to_have_count(1)
    expect(page.locator(".remark").nth(5)).to_have_text("the sky, s and c and 1 are letters")
    folders = page.evaluate("keptFolders()").splitlines()
    assert folders == [str(sweep / "2"), f"{sweep / '5'}  # the sky, s and c and 1 are letters"]
    page.get_by_role("button", name="Copy folders").click()
    expect(page.locator("#copy-kept")).to_have_text("Copied")
    page.get_by_label("only starred").check()
    faded = "node => getComputedStyle(node).opacity"
    assert float(page.locator("button.canvas").nth(0).evaluate(faded)) < 0.5
    assert float(page.locator("button.canvas").nth(2).evaluate(faded)) == 1
    page.locator("button.canvas").nth(2).focus()
    page.keyboard.press("s")
    assert float(page.locator("button.canvas").nth(0).evaluate(faded)) == 1


@in_browser
def test_each_cell_has_the_command_that_paints_it_alone_and_one_that_paints_it_larger(
    open_page: Open, tmp_path: Path
) -> None:
    folder = tmp_path / "a b"
    jobs = [["content_layers=[conv1_1,conv3_1]", "+note=it's", f"seed={seed}"] for seed in (1, 2)]
    make_sweep(folder, "readme/x", jobs, iterations=2)
    record = json.loads((folder / "sweep.json").read_text())
    line = "nst -m --config-dir 'my conf' experiment=readme/x hydra.sweep.dir=z"
    (folder / "sweep.json").write_text(json.dumps(record | {"command": line}))
    page = open_page(write_page(folder))
    page.locator("button.canvas").nth(1).click()
    alone, larger = map(shlex.split, page.locator("#facts code").all_inner_texts())
    head = ["nst", "--config-dir", "my conf", "experiment=readme/x"]
    assert alone == [*head, "content_layers=[conv1_1,conv3_1]", "+note=it's", "seed=2"]
    assert larger == ["python", "-m", "nst.replay", str(folder / "1"), "size=512"]
    page.get_by_role("button", name="Copy: This canvas").click()
    expect(page.get_by_role("button", name="Copy: This canvas")).to_have_text("Copied")


@in_browser
def test_a_copied_command_paints_that_cell(open_page: Open, tmp_path: Path) -> None:
    options = [*SMALL, "tracking=none", f"outputs={tmp_path}", f"hydra.sweep.dir={tmp_path}/sweep"]
    assert command(tmp_path, "-m", *options, "seed=1,2").code == 0
    page = open_page(tmp_path / "sweep/index.html", "#cell=1")
    words = shlex.split(page.locator("#facts code").first.inner_text())
    assert words[:2] == ["python", "run.py"]
    assert command(tmp_path, *words[2:], f"hydra.run.dir={tmp_path}/alone", "resume=false").code == 0
    alone, cell = (json.loads((tmp_path / at / "run.json").read_text()) for at in ("alone", "sweep/1"))
    assert alone["identity"] == cell["identity"]
