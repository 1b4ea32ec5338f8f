"""Pages in a real Chromium, and a sweep of which each canvas's grey level says which it is."""

import io
import shutil
from collections.abc import Callable

import pytest
from PIL import Image
from playwright.sync_api import Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]

Open = Callable[..., Page]


def in_browser(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test that needs Chromium."""
    skip = pytest.mark.skipif(CHROMIUM is None, reason="no chromium or chromium-browser on the PATH")
    return pytest.mark.browser(skip(test))


def level(number: int, iteration: int) -> int:
    """The grey level of a canvas of `grey_sweep`."""
    return iteration + 20 * number


def levels(page: Page) -> list[float]:
    """The grey level at the middle of each canvas, as the screen shows it."""
    shot = Image.open(io.BytesIO(page.screenshot())).convert("L")
    corners = page.locator("button.canvas").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).map(box => [box.x, box.y])"
    )
    return [float(shot.getpixel((int(x) + 80, int(y) + 80))) for x, y in corners]


def slide(page: Page, position: int) -> None:
    """Move the page's slider."""
    page.get_by_role("slider", name="Iteration", exact=True).fill(str(position))
