"""The page of all outputs: what it lists, what it says of it, and whose file it leaves alone."""

import json
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from support.rundirs import make_collection, make_run, make_sweep

from nst.errors import NstError
from nst.report.build import contact_sheet, rebuild
from nst.report.grid import grid
from nst.report.outputs_index import write_index
from nst.report.page import write_page
from nst.runs.description import Description
from nst.runs.reader import read_run


def say(run: Path, **said: object) -> None:
    """Give a run a name, tags or notes."""
    config = OmegaConf.load(run / ".hydra/config.yaml")
    OmegaConf.save(OmegaConf.merge(config, said), run / ".hydra/config.yaml")


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A sweep of which one cell failed, a sweep of two sweeps, and a single run with a name."""
    sweep = make_sweep(tmp_path / "sweeps/a", "plain", [[f"seed={n}"] for n in range(2)], iterations=1)
    make_run(sweep / "2", overrides=["seed=2"], status="failed")
    contact_sheet(sweep)
    seeds = [["seed=1"], ["seed=2"]]
    make_collection(tmp_path / "all", {"x/one": seeds, "x/two": seeds}, iterations=1)
    run = make_run(
        tmp_path / "runs/b c", overrides=["optimizer=adam", "outputs=x", "tags=[sky]"], iterations=1
    )
    say(run, name="Blue <pagoda>", tags=["sky", "talk"], notes="More style.")
    make_run(tmp_path / "runs/plain", overrides=["optimizer=adam", "outputs=x"], status="running")
    return tmp_path


def entries(page: Path) -> dict[str, str]:
    """The text of each entry by the address of its page."""
    found = re.findall(r"<li data-text=.*?</li>", page.read_text(), re.DOTALL)
    texts = [" ".join(re.sub("<[^>]*>", " ", entry).split()) for entry in found]
    return {re.search('href="(.*?)"', entry)[1]: text for entry, text in zip(found, texts, strict=True)}


def test_every_sweep_and_every_single_run_is_there_with_its_state(outputs: Path) -> None:
    [page] = rebuild(outputs)
    found = entries(page)
    assert found.keys() == {
        f"{place}/index.html"
        for place in ("sweeps/a", "all", "all/x/one", "all/x/two", "runs/b%20c", "runs/plain")
    }
    assert "sweep · finished, 2 of 3 cells finished, 1 failed · 2026-11-23" in found["sweeps/a/index.html"]
    assert "2 sweeps · finished, 4 cells" in found["all/index.html"]
    assert found["all/x/two/index.html"].startswith("no picture yet What x/two asks x/two")
    assert "Blue &lt;pagoda&gt; run · finished" in found["runs/b%20c/index.html"]
    assert found["runs/b%20c/index.html"].endswith("More style. sky talk")
    assert found["runs/plain/index.html"].startswith("no picture yet optimizer=adam run · unfinished")
    assert 'src="sweeps/a/sheet.png"' in page.read_text()
    assert 'src="runs/b%20c/canvas.png"' in page.read_text()


def test_a_sweep_says_how_it_goes(outputs: Path) -> None:
    record = json.loads((outputs / "sweeps/a/sweep.json").read_text())
    for change, said in (({"interrupted": True}, "interrupted"), ({"ended": None, "cells": 5}, "unfinished")):
        (outputs / "sweeps/a/sweep.json").write_text(json.dumps(record | change))
        write_index(outputs)
        assert f"sweep · {said}, 2 of" in entries(outputs / "index.html")["sweeps/a/index.html"]


def test_the_page_of_someone_else_is_left_alone_and_ours_is_written_again(outputs: Path) -> None:
    assert write_index(outputs) == write_index(outputs) == outputs / "index.html"
    (outputs / "index.html").write_text("<p>mine</p>")
    assert write_index(outputs) is None
    assert (outputs / "index.html").read_text() == "<p>mine</p>"
    assert write_index(outputs / "sweeps/a") is None  # it has a page of its own
    with pytest.raises(NstError, match="no such folder"):
        write_index(outputs / "nowhere")


def test_what_is_said_of_a_sweep_is_on_its_page_and_sheet_and_no_parameter(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", "plain", [["seed=1"], ["seed=2"]], iterations=1)
    before = contact_sheet(sweep).read_bytes()
    for number, tag in enumerate(("sky", "roof")):
        say(sweep / str(number), name="Blue", tags=["talk", tag], notes=f"note {number}")
    found = grid(sweep)
    assert found.said == Description("Blue", ("talk", "sky", "roof"), "")
    assert [axis.key for axis in found.axes] == ["seed"]
    assert not {"name", "tags", "notes"} & read_run(sweep / "0").parameters().keys()
    assert contact_sheet(sweep).read_bytes() != before
    page = write_page(sweep).read_text()
    assert "<title>Blue</title>" in page
    assert "<span>roof</span>" in page


def test_a_single_run_has_a_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", overrides=["optimizer=adam", "outputs=x"], iterations=2)
    made = rebuild(run)
    assert [path.name for path in made] == ["losses.png", "index.html"]
    page = (run / "index.html").read_text()
    assert "<title>optimizer=adam</title>" in page
    assert page.count('class="canvas') >= 1
