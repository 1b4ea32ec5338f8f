"""What the documents say of the code is so."""

import re
from pathlib import Path

import pytest

from nst.config.paths import ROOT
from nst.measures import MEASURES
from nst.tracking.client import Store
from nst.tracking.logger import run_url
from nst.tracking.tracked import TrackedRun

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    """`core/test_engine.py::test_x`, or `::test_x` in the file named last; `…` leaves out part of a name."""
    path: Path | None = None
    for file, name in re.findall(r"([\w/]*test_\w+\.py)|::(test_[\w…]+)", page.read_text()):
        if file:
            path = ROOT / "tests" / file.removeprefix("tests/")
            assert path.is_file(), file
            continue
        assert path is not None, name
        pattern = rf"^def {name.replace('…', '.*')}\("
        assert re.search(pattern, path.read_text(), re.MULTILINE), f"{path.name}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_of_ours_that_a_page_names_exists(page: Path) -> None:
    for path in re.findall(r"`((?:nst|conf|docs|benchmarks|hydra_plugins)/[a-z0-9_/.]*)`", page.read_text()):
        assert (ROOT / path).exists(), path


def test_every_measure_is_in_the_table_of_measures() -> None:
    table = (ROOT / "docs/measures.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)`[^|]*\| ([^|]*) \| ([^|]*) \|", table, re.MULTILINE)
    assert rows == [(name, found.unit or "–", found.better or "–") for name, found in MEASURES.items()]


def test_servers_that_we_tell_to_start_are_for_this_machine_alone(tmp_path: Path) -> None:
    texts = [ROOT / "README.md", ROOT / "Makefile"]
    for folder, kinds in {"docs": "md py", "nst": "py", "benchmarks": "md py", "conf": "yaml"}.items():
        texts += [path for kind in kinds.split() for path in (ROOT / folder).rglob(f"*.{kind}")]
    found = 0
    for path in texts:
        for line in path.read_text().splitlines():
            words = re.sub("""[\\s"',]+""", " ", line)
            assert not re.search(r"0\.0\.0\.0|http\.server|HTTPServer\(\( ", words), (path, line)
            if re.search(r"mlflow (ui|server) -", words):
                found += 1
                assert " --host 127.0.0.1 " in words, (path, line)
    assert found >= 3
    TrackedRun(uri="sqlite:///mlflow.db", experiment_id="1", run_id="a").write(tmp_path)
    assert " --host 127.0.0.1 " in run_url(tmp_path, Store("sqlite:///mlflow.db", "x", 2))
