"""Pictures of a sweep in MLflow's own pages, and of the sweep's page, for the docs.

    python docs/screenshots.py SWEEP_FOLDER OUT_FOLDER [NAME...]     all pictures, or those of these names

Logs the sweep to a server of its own, which is gone afterwards, and looks at it with the Chromium of
this machine. Needs playwright, which `pip install -e '.[dev]'` brings.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

from nst.errors import NstError
from nst.runs.record import SweepRecord
from nst.tracking.client import Store
from nst.tracking.logger import end_sweep, run_url
from nst.tracking.tracked import TrackedRun

if TYPE_CHECKING:
    from playwright.sync_api import Page

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
PATIENCE = 120  # seconds, for a server to start and for a page to show what it has
WIDTH, HEIGHT = 1500, 940
SETTLED = 4000  # ms after which what MLflow animates stands still


def main(arguments: list[str]) -> int:
    """Take the pictures; 2 if that cannot be."""
    try:
        if len(arguments) < 2:
            raise NstError("usage: python docs/screenshots.py SWEEP_FOLDER OUT_FOLDER [NAME...]")
        sweep, out = (Path(argument).resolve() for argument in arguments[:2])
        wanted = arguments[2:] or [take.__name__ for take in (*OF_THE_PAGE, *OF_MLFLOW)]
        about = SweepRecord.read(sweep)
        if about.blank or about.grids is not None or not any(sweep.glob("*/run.json")):
            raise NstError(f"{sweep}: not a sweep; give the folder of one, with its sweep.json and its cells")
        if not (sweep / "index.html").is_file():
            raise NstError(f"{sweep}: no index.html in it; make it with python -m nst.gallery {sweep}")
        out.mkdir(parents=True, exist_ok=True)
        for take in OF_THE_PAGE:
            if take.__name__ in wanted:
                with browsing() as page:
                    take(page, sweep)
                    page.wait_for_timeout(1000)
                    print(path := out / f"{take.__name__}.png")
                    page.screenshot(path=path)
        if not any(take.__name__ in wanted for take in OF_MLFLOW):
            return 0
        with tempfile.TemporaryDirectory() as folder:
            # A copy, because where the sweep is tracked for good is recorded in its folder.
            copy = Path(shutil.copytree(sweep, Path(folder) / sweep.name))
            with serving(Path(folder)) as uri:
                store = Store(uri, "neural-style-transfer", canvas_steps=3)  # as conf says
                end_sweep(copy, store)
                for look in OF_MLFLOW:
                    if look.__name__ not in wanted:
                        continue
                    with browsing() as page:  # which has kept nothing of the page before
                        look(page, copy, store)
                        page.wait_for_timeout(SETTLED)
                        print(path := out / f"{look.__name__}.png")
                        page.screenshot(path=path)
    except (NstError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def mlflow(page: "Page", sweep: Path, store: Store) -> None:
    """The runs of the sweep as a table, the cells below their parent."""
    page.goto(run_url(sweep, store))
    show_cells(page, sweep)
    page.get_by_text("matching runs").click()  # which leaves no cell of the table selected


def mlflow_compare(page: "Page", sweep: Path, store: Store) -> None:
    """The loss curves of cells over one another."""
    page.goto(f"{run_url(sweep, store)}&compareRunsMode=CHART")
    show_cells(page, sweep)
    page.locator("path.js-line").first.wait_for()


def show_cells(page: "Page", sweep: Path) -> None:
    """Show the cells below their sweep, and close what MLflow opens over a third of the page."""
    page.get_by_role("button", name="Close").first.click()
    name = SweepRecord.load(sweep).name
    row = page.locator(".ag-cell-wrapper").filter(has=page.get_by_role("link", name=name))
    row.get_by_role("button").click()


def mlflow_canvas(page: "Page", sweep: Path, store: Store) -> None:
    """The canvas of a cell, some way along its slider."""
    cell = min(sweep.glob(f"*/{TrackedRun.NAME}"), key=lambda path: int(path.parent.name)).parent
    page.goto(TrackedRun.load(cell).page(store.uri).replace("?", "/model-metrics?"))
    page.get_by_role("button", name="Close").first.click()
    page.get_by_placeholder("Search metric charts").fill("canvas")
    page.get_by_role("slider").wait_for()
    page.get_by_role("slider").press("ArrowRight")
    card = "[data-testid=experiment-view-compare-runs-card] img"  # another element for each step
    page.wait_for_function(f"() => document.querySelector('{card}')?.naturalWidth > 0")


def page_grid(page: "Page", sweep: Path) -> None:
    """The sweep's own page, read from disk."""
    page.goto((sweep / "index.html").as_uri())


def page_compare(page: "Page", sweep: Path) -> None:
    """Two cells of it, with a slider between them."""
    page.goto((sweep / "index.html").as_uri())
    for cell in (page.locator("button.canvas").first, page.locator("button.canvas").nth(7)):
        cell.focus()
        page.keyboard.press("c")
    page.keyboard.press("2")


def page_scores(page: "Page", sweep: Path) -> None:
    """Its canvases by their scores."""
    page.goto((sweep / "index.html").as_uri())
    page.locator(".scatters").evaluate("node => node.scrollIntoView()")


OF_THE_PAGE = (page_grid, page_compare, page_scores)
OF_MLFLOW = (mlflow, mlflow_compare, mlflow_canvas)


@contextmanager
def browsing() -> Iterator["Page"]:
    """A page of the Chromium on this machine."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise NstError("playwright is not installed; pip install playwright") from None
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise NstError("no chromium, chromium-browser or google-chrome on the PATH; install one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(1000 * PATIENCE)
        try:
            yield page
        except Error as error:
            raise NstError(f"{page.url}: {str(error).splitlines()[0]}") from error
        finally:
            browser.close()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of an MLflow server on the loopback that keeps everything in `folder`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **quiet}, start_new_session=True
        )
    try:
        began = time.monotonic()
        while not answers(f"http://127.0.0.1:{port}/health"):
            if server.poll() is not None or time.monotonic() - began > PATIENCE:
                raise NstError(f"mlflow server does not start: {log.read_text()[-300:].splitlines()[-1:]}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # its workers are processes too
        server.wait()


def answers(address: str) -> bool:
    """Whether a server does."""
    try:
        with urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
