"""Text from outside, on its way through a real sweep: it is shown everywhere, and is nowhere obeyed."""

import shutil
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from support.command import command
from support.markdown import tokens

from nst.config.paths import ROOT
from nst.io.text import escape_unprintable
from nst.report.contact_sheet import lay_out
from nst.report.grid import grid
from nst.report.page import write_page
from nst.tracking.client import Store
from nst.tracking.logger import end_sweep

SMALL = ["model=vgg16", "model.weights=random", "size=24", "iterations=2", "hardware.device=cpu"]
SMALL += ["style_layers=conv1_1"]
# Of one folder, so no slash; that is what the title is for.
NASTY = "[red]a[bold] `b` ![c](javascript:alert(1)) <img src=x onerror=alert(1)>\x1b[31m\u202e\n# d.png"
GONE = NASTY.replace("d.png", "gone.png")
TITLE = f"</script></title><script>alert(1)</script>[/red]{NASTY}"


def quoted(text: str) -> str:
    """As a string in Hydra's grammar."""
    return "'" + text.replace("'", "\\'") + "'"


@dataclass(frozen=True)
class Swept:
    """A sweep of two cells, of which one failed, and what was said while it was painted."""

    folder: Path
    said: str


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    here = tmp_path_factory.mktemp("text")
    shutil.copy(ROOT / "data/cat.png", here / NASTY)
    arguments = [*SMALL, "tracking=none", "hydra.sweep.dir=sweep"]
    arguments += [f"images.content={quoted(NASTY)},{quoted(GONE)}"]
    arguments += [f"hydra.callbacks.sweep.title={quoted(TITLE)}"]
    ended = command(here, "-m", *arguments, COLUMNS="1000")
    assert (ended.code, ended.out) == (1, "")
    assert {path.name for path in here.iterdir()} - {"outputs"} == {NASTY, "sweep"}
    return Swept(here / "sweep", ended.err)


def test_the_console_shows_it(swept: Swept) -> None:
    for line in swept.said.splitlines():
        assert line.isprintable(), line
    assert "cannot be read" not in swept.said
    assert f"images.content={escape_unprintable(GONE)}: no such file" in swept.said
    assert escape_unprintable(NASTY) in swept.said


class Markup(HTMLParser):
    """The elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_it(swept: Swept) -> None:
    page = Markup(write_page(swept.folder).read_text())
    assert [tag for tag, _ in page.elements].count("script") == 2  # the data, and what shows them
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            address = attributes.get(name) or "#"
            assert address == "data:," or address.startswith(("data:image/", "#")), (tag, address)
    assert TITLE in page.text
    assert "onerror=alert(1)" in page.text


def test_the_sheet_shows_it(swept: Swept) -> None:
    assert (swept.folder / "sheet.png").is_file()
    sheet = lay_out(grid(swept.folder))
    assert all(text.line.isprintable() for text in sheet.texts)
    assert any("[red]a[bold]" in text.line for text in sheet.texts)
    sheet.draw()


def test_mlflow_shows_it(swept: Swept, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/mlflow.db", NASTY, 2)
    run_id = end_sweep(swept.folder, store)
    client = MlflowClient(store.uri)
    parent = client.get_run(run_id)
    experiment = client.get_experiment(parent.info.experiment_id)
    assert experiment.name == NASTY
    runs = client.search_runs([parent.info.experiment_id])
    cells = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert {cell.data.params["images.content"] for cell in cells} == {
        escape_unprintable(NASTY),
        escape_unprintable(GONE),
    }
    for run in (parent, *cells):
        for token in tokens(run.data.tags["mlflow.note.content"]):
            assert not token.type.startswith(("html", "link", "heading")), token
            assert token.type != "image" or str(token.attrs["src"]).startswith("get-artifact?path="), token
    shown = "".join(token.content for token in tokens(parent.data.tags["mlflow.note.content"]))
    assert escape_unprintable(TITLE) in shown
    assert {path.name for path in tmp_path.iterdir()} - {"mlflow.db.lock"} == {"mlflow.db", "mlartifacts"}
