"""Which keys of a sweep are rows, columns or shown one at a time, and its charts of scores, in a browser."""

import itertools
import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from support.browser import Open, in_browser
from support.rundirs import make_run, make_sweep

from nst.report.outputs_index import write_index
from nst.report.page import write_page

KEYS = {
    "optimizer": ["adam", "lbfgs"],
    "weights.style": ["1000000.0", "100.0", "7000.0"],
    "seed": ["1", "2"],
}
NINE = [str(seed) for seed in range(9)]


@pytest.fixture(scope="module")
def three_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve cells, the product of three keys, of which one has numbers out of order."""
    folder = tmp_path_factory.mktemp("axes") / "three"
    jobs = [
        [f"{key}={value}" for key, value in zip(KEYS, values, strict=True)]
        for values in itertools.product(*KEYS.values())
    ]
    make_sweep(folder, "three", jobs, iterations=2)
    write_page(folder)
    return folder


def table(page: Page) -> list[list[int]]:
    """The numbers of the cells in the table of canvases, row by row."""
    rows = "all => all.map(row => [...row.querySelectorAll('.canvas')].map(one => Number(one.dataset.cell)))"
    return page.locator(".canvases tbody tr").evaluate_all(rows)


def folders(page: Page) -> list[list[str]]:
    names = page.evaluate("cells.map(cell => cell.folder)")
    return [[names[number] for number in row] for row in table(page)]


def choose(page: Page, control: str, value: str) -> None:
    page.get_by_role("combobox", name=control, exact=True).first.select_option(value)


def heads(page: Page, scope: str) -> list[str]:
    return page.locator(f".canvases th[scope='{scope}']").all_inner_texts()


@in_browser
def test_three_keys_are_nested_and_numbers_ascend_as_people_write_them(
    open_page: Open, three_keys: Path
) -> None:
    page = open_page(three_keys / "index.html")
    assert heads(page, "row") == ["adam", "lbfgs"]
    assert heads(page, "colgroup") == ["style weight, seed", "100", "7000", "1e6"]
    assert heads(page, "col") == ["optimizer", *["1", "2"] * 3]
    assert folders(page) == [["2", "3", "4", "5", "0", "1"], ["8", "9", "10", "11", "6", "7"]]
    choose(page, "style weight", "rows")
    assert heads(page, "row")[:3] == ["adam\n100", "adam\n7000", "adam\n1e6"]
    assert folders(page)[:3] == [["2", "3"], ["4", "5"], ["0", "1"]]


@in_browser
@pytest.mark.parametrize("width", [1400, 390])
def test_a_person_chooses_rows_columns_and_tabs_and_the_address_keeps_them(
    open_page: Open, three_keys: Path, width: int
) -> None:
    page = open_page(three_keys / "index.html", viewport={"width": width, "height": 900})
    choose(page, "style weight", "columns")
    choose(page, "seed", "rows")
    choose(page, "optimizer", "one at a time")
    assert folders(page) == [["2", "4", "0"], ["3", "5", "1"]]
    page.get_by_role("radiogroup", name="optimizer").get_by_label("lbfgs").check()
    again = open_page(three_keys / "index.html", page.evaluate("location.hash"))
    for view in (page, again):
        assert folders(view) == [["8", "10", "6"], ["9", "11", "7"]]
        assert heads(view, "row") == ["1", "2"]
        expect(view.locator(".chart")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator("button.canvas").first.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.cell") == str(table(page)[1][0])
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Next").click()
    expect(page.locator("#large-title")).to_have_text("lbfgs · style weight 7000 · seed 2")


@in_browser
def test_many_values_are_a_slider(open_page: Open, tmp_path: Path) -> None:
    jobs = [[f"optimizer={name}", f"seed={seed}"] for name in ("adam", "lbfgs") for seed in NINE]
    make_sweep(tmp_path / "many", "many", jobs, iterations=1)
    page = open_page(write_page(tmp_path / "many"))
    choose(page, "seed", "one at a time")
    assert folders(page) == [["0"], ["9"]]
    page.get_by_role("slider", name="seed").press("ArrowRight")
    assert folders(page) == [["1"], ["10"]]


@in_browser
def test_five_keys_fit_and_every_cell_is_there(open_page: Open, tmp_path: Path) -> None:
    keys = [
        "optimizer=adam,lbfgs",
        "content_layers=conv1_1,conv4_1",
        "weights.tv=1,2",
        "fps=25,30",
        "seed=1,2",
    ]
    options = [
        [f"{key}={value}" for value in values.split(",")] for key, values in (k.split("=") for k in keys)
    ]
    make_sweep(tmp_path / "five", "five", [list(job) for job in itertools.product(*options)], iterations=1)
    page = open_page(write_page(tmp_path / "five"), viewport={"width": 1400, "height": 900})
    found = table(page)
    assert [len(row) for row in found] == [8] * 4
    assert sorted(itertools.chain(*found)) == list(range(32))
    box = page.locator(".canvases").bounding_box()
    assert box["width"] < 1240
    assert box["height"] < 900


@in_browser
def test_scores_are_points_and_lines_along_a_key_of_numbers(open_page: Open, three_keys: Path) -> None:
    page = open_page(three_keys / "index.html")
    figures = page.locator(".scores")
    expect(figures).to_have_count(2)  # the scores against each other, and along the style weight
    for at in (0, 1):
        expect(figures.nth(at).locator(".point")).to_have_count(12)
    expect(figures.nth(1).locator(".series")).to_have_count(4)  # 2 optimizers x 2 seeds

    scores = [json.loads((three_keys / str(n) / "run.json").read_text())["scores"] for n in range(12)]
    names = page.evaluate("cells.map(cell => cell.folder)")
    centres = figures.first.locator(".point").evaluate_all(
        "all => Object.fromEntries(all.map(one => [one.dataset.cell, one.order]))"
    )
    x = [centres[str(names.index(str(n)))] for n in range(12)]
    by_x, by_score = (
        sorted(range(12), key=of) for of in (lambda n: x[n], lambda n: scores[n]["style_distance"])
    )
    assert [round(x[n]) for n in by_x] == [round(x[n]) for n in by_score]

    values = [(score["lpips_content"], score["style_distance"]) for score in scores]
    front = {
        one for one in values if not any(a <= one[0] and b <= one[1] for a, b in values if (a, b) != one)
    }
    numbers = "all => all.map(one => Number(one.dataset.cell))"
    best = figures.first.locator(".point.best").evaluate_all(numbers)
    assert {values[int(names[cell])] for cell in best} == front
    choose(page, "across", "total loss")
    assert "0.x0=total" in page.evaluate("location.hash")
    figures.first.locator(".point").last.click()
    expect(page.get_by_role("dialog")).to_be_visible()


@in_browser
def test_a_search_shows_its_front_and_what_each_trial_was_painted_with(
    open_page: Open, tmp_path: Path
) -> None:
    weights = ["1234.0", "98.5", "50000.0", "700.0"]
    folder = make_sweep(
        tmp_path / "search", "search", [[f"weights.style={weight}"] for weight in weights], iterations=2
    )
    record = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps(record | {"per_row": 3}))
    (folder / "search.json").write_text(json.dumps({"objectives": ["lpips_content", "style_distance"]}))
    for number, values in enumerate(((0.4, 0.2), (0.1, 0.5), (0.6, 0.3), (0.2, 0.4))):
        run = json.loads((folder / str(number) / "run.json").read_text())
        run["scores"] = dict(zip(("lpips_content", "style_distance"), values, strict=True))
        (folder / str(number) / "run.json").write_text(json.dumps(run))
    page = open_page(write_page(folder))
    assert folders(page) == [["0", "1", "2"], ["3"]]
    expect(page.locator(".parameters").nth(1)).to_have_text("trial 1weights.style 98.5")
    expect(page.locator(".scores").first.locator(".point.best")).to_have_count(3)
    choose(page, "Order by", "style weight")
    assert folders(page) == [["1", "3", "0"], ["2"]]
    choose(page, "Order by", "LPIPS to content")
    assert folders(page) == [["1", "3", "0"], ["2"]]
    choose(page, "Order by", "style distance")
    assert folders(page) == [["0", "2", "3"], ["1"]]


@in_browser
def test_outputs_are_searched_by_name_tag_and_note(open_page: Open, tmp_path: Path) -> None:
    for number, said in enumerate(({"name": "Blue roof"}, {"tags": ["sky"], "notes": "a blue one"}, {})):
        run = make_run(tmp_path / f"runs/{number}", overrides=[f"seed={number}"], iterations=1, config=said)
        write_page(run)
    page = open_page(write_index(tmp_path))
    shown = page.locator("#entries > li:visible")
    expect(shown).to_have_count(3)
    expect(page.locator("#entries img").first).to_have_js_property("naturalWidth", 32)
    page.keyboard.press("/")
    page.keyboard.type("BLUE")
    expect(shown).to_have_count(2)
    page.get_by_role("button", name="sky").click()
    expect(page.get_by_role("searchbox")).to_have_value("sky")
    expect(shown).to_have_count(1)
    page.reload()
    expect(page.locator("#count")).to_have_text("1 of 3")
    shown.get_by_role("link").last.click()
    expect(page.locator("h1")).to_have_text("seed=1")
    expect(page.locator(".notes")).to_have_text("a blue one")
