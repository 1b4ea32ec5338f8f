"""A browser, and what is shown in it; stores that are there at once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from support.browser import CHROMIUM, FLAGS, Open, level
from support.mlflow_tables import copied
from support.rundirs import make_sweep

from nst.report.page import write_page

JOBS = [
    [f"optimizer={optimizer}", f"content_layers={layer}"]
    for optimizer in ("adam", "lbfgs")
    for layer in ("conv1_1", "conv3_1", "conv5_1")
]


@pytest.fixture(scope="session", autouse=True)
def tables() -> Iterator[None]:
    with copied():
        yield


@pytest.fixture(scope="module")  # two of Playwright cannot run at a time
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens files, and holds at the end that nothing went wrong, and that nothing else was fetched."""
    contexts, requests, complaints, opened = [], [], [], []

    def open_file(path: Path, view: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 2400}} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri() + view)
        opened.append(path)
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert complaints == []
    beside = tuple(f"{path.parent.as_uri()}/" for path in opened)
    assert [url for url in requests if not url.startswith(("data:", *beside))] == []


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cells whose grey level says how far each is: dark at first, and lighter in later columns."""
    folder = tmp_path_factory.mktemp("page") / "sweep"
    make_sweep(folder, "readme/grid", JOBS, title="A grid of six", size=32, iterations=101)
    for number in range(6):
        run = folder / str(number)
        frames = json.loads((run / "run.json").read_text())["frames"]
        shown = [np.full((32, 32, 3), level(number, at), np.uint8) for at in frames]
        imageio.mimwrite(run / "canvas.mp4", shown, fps=30, codec="libx264")
        Image.fromarray(shown[-1]).save(run / "canvas.png")
    write_page(folder)
    return folder
