"""What a person sees in MLflow's own pages, in a real browser."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright
from support.mlflow_server import serving
from support.rundirs import make_sweep

from nst.report.build import rebuild
from nst.tracking.client import Store
from nst.tracking.logger import end_sweep, run_url
from nst.tracking.tracked import TrackedRun

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium or chromium-browser on the PATH"),
]

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SECONDS = 60_000  # of patience, in ms: the pages are large and test machines small
JOBS = [
    ["optimizer=adam", "content_layers=conv1_1"],
    ["optimizer=adam", "content_layers=conv5_1"],
    ["optimizer=lbfgs", "content_layers=[conv2_1,conv4_1]"],
]
NAMES = ["adam, conv1_1", "adam, conv5_1", "lbfgs, conv2_1 conv4_1"]


@dataclass(frozen=True)
class Place:
    sweep: Path
    store: Store

    def url(self, folder: Path, tab: str = "") -> str:
        """The page of a run, or one of its tabs."""
        return TrackedRun.load(folder).page(self.store.uri).replace("?", f"{tab}?")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("ui")
    sweep = make_sweep(folder / "sweep", "readme/noise_adam", JOBS, size=64)
    rebuild(sweep)
    with serving(folder / "server") as server:
        store = Store(server.uri, "neural-style-transfer", canvas_steps=3)
        end_sweep(sweep, store)
        yield Place(sweep, store)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, "--no-first-run"])
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(SECONDS)
        expect.set_options(timeout=SECONDS)
        # MLflow's assistant else opens itself over a third of each page.
        page.add_init_script("localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')")
        page.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
        yield page
        browser.close()


def test_the_experiment_lists_the_sweep_with_its_cells_inside(
    page: Page, place: Place, tmp_path: Path
) -> None:
    page.goto(run_url(place.sweep, place.store))  # the link that is printed
    parent = page.get_by_role("link", name="readme/noise_adam")
    expect(parent).to_be_visible()
    for name in NAMES:
        expect(page.get_by_role("link", name=name)).to_be_hidden()
    row = page.locator(".ag-cell-wrapper").filter(has=parent)
    row.get_by_role("button").click()
    for name in NAMES:
        expect(page.get_by_role("link", name=name)).to_be_visible()
    page.screenshot(path=tmp_path / "experiment.png")


def test_a_cell_shows_its_params_and_its_parent(page: Page, place: Place, tmp_path: Path) -> None:
    page.goto(place.url(place.sweep / "2"))
    expect(page.get_by_role("heading", name=NAMES[2])).to_be_visible()
    expect(page.get_by_role("link", name="readme/noise_adam")).to_be_visible()
    expect(page.get_by_text("conv2_1 conv4_1", exact=True)).to_be_visible()
    expect(page.get_by_text("nst.model", exact=True)).to_be_visible()
    expect(page.get_by_text("run.py", exact=True)).to_be_visible()
    expect(page.locator("img[src*='path=canvas.png']")).to_have_js_property("naturalWidth", 64)
    page.screenshot(path=tmp_path / "cell.png")


def test_a_cell_shows_its_loss_curves(page: Page, place: Place, tmp_path: Path) -> None:
    page.goto(place.url(place.sweep / "0", "/model-metrics"))
    search = page.get_by_placeholder("Search metric charts")
    expect(page.get_by_test_id("experiment-view-compare-runs-card").first).to_contain_text("total")
    search.fill("^(loss|terms)/")
    for key in ("total", "content", "style", "tv"):
        card = page.get_by_test_id("experiment-view-compare-runs-card").filter(
            has=page.get_by_role("heading", name=key, exact=True)
        )
        # A line through three frames, where a single value would be a bar.
        expect(card.locator("path.js-line").first).to_have_attribute("d", re.compile("^M.*[CL]"))
    page.screenshot(path=tmp_path / "curves.png")


def test_the_canvas_has_a_step_slider(page: Page, place: Place, tmp_path: Path) -> None:
    page.goto(place.url(place.sweep / "0", "/model-metrics"))
    page.get_by_placeholder("Search metric charts").fill("canvas")
    slider, image = page.get_by_role("slider"), page.locator("img.rc-image-img")
    expect(slider).to_have_attribute("aria-valuemax", "19")
    for step in (0, 10, 19):
        expect(slider).to_have_attribute("aria-valuenow", str(step))
        expect(image).to_have_attribute("src", re.compile(rf"canvas%2Bstep%2B{step}%2B"))
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth") == 256
        page.screenshot(path=tmp_path / f"canvas_{step}.png")
        slider.press("ArrowRight")


def test_cells_are_compared_by_what_varies(page: Page, place: Place, tmp_path: Path) -> None:
    addresses = [place.url(place.sweep / number) for number in "02"]
    ids = [re.sub(r".*/runs/|\?.*", "", address) for address in addresses]
    experiment = re.sub(r".*/experiments/|/runs.*", "", addresses[0])
    runs = f'["{ids[0]}","{ids[1]}"]'
    page.goto(f'{place.store.uri}/#/compare-runs?runs={runs}&experiments=["{experiment}"]')
    expect(page.get_by_text("Comparing 2 Runs from 1 Experiment")).to_be_visible()
    rows = page.get_by_role("row")
    for cells in (
        ["content_layers", "conv1_1", "conv2_1 conv4_1"],
        ["optimizer.name", "adam", "lbfgs"],
    ):
        row = rows.filter(has_text=cells[0]).filter(has_text=cells[2])
        expect(row).to_have_count(1)
        expect(row).to_contain_text(cells[1])
    page.screenshot(path=tmp_path / "compare.png")


def test_the_parent_shows_the_sheet_and_the_table(page: Page, place: Place, tmp_path: Path) -> None:
    page.goto(place.url(place.sweep))
    expect(page.get_by_text("python run.py -m experiment=readme/noise_adam").first).to_be_visible()
    with Image.open(place.sweep / "sheet.png") as sheet:
        shown = page.locator("img[src*='path=sheet.png']")
        expect(shown).to_have_js_property("naturalWidth", sheet.width)
    for name in NAMES:
        expect(page.get_by_role("link", name=name)).to_be_visible()
    page.screenshot(path=tmp_path / "sweep.png")

    page.goto(place.url(place.sweep, "/artifacts/cells.json"))
    row = page.get_by_role("row").filter(has_text="lbfgs")
    expect(row).to_contain_text("conv2_1 conv4_1")
    expect(row).to_contain_text("finished")
    page.screenshot(path=tmp_path / "table.png")


def test_the_parent_shows_the_page_and_its_script_runs(page: Page, place: Place, tmp_path: Path) -> None:
    page.goto("about:blank")  # from the artifacts of another run MLflow finds none
    page.goto(place.url(place.sweep, "/artifacts/index.html"))
    shown = page.frame_locator("iframe")
    expect(shown.get_by_role("heading", name="readme/noise_adam")).to_be_visible()
    slider = shown.get_by_role("slider").first
    for key, iteration in (("Home", 0), ("End", 19)):
        slider.press(key)
        expect(shown.get_by_text(f"iteration {iteration} of 19").first).to_be_visible()
    page.screenshot(path=tmp_path / "page.png")
