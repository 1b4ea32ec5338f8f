"""Which folders are written into."""

from functools import cache
from pathlib import Path

import pytest
from support.composing import config

from nst.config.schema import Config
from nst.execution.output_dir import conflict_in
from nst.runs.job import Job


# Files in an otherwise empty folder, or in that of a sweep: with them it is nobody's to write into.
@pytest.mark.parametrize(
    "name",
    [
        "content.png",
        "canvas.png",
        "nst.log.txt",
        "sheet.png",
        "index.html",
        "0/style.png",
        "0/.hydra/x",
        ".git",
    ],
)
def test_files_of_others_are_seen(name: str, tmp_path: Path) -> None:
    for cells in ({}, {Path(): job(tmp_path)}, {Path("0"): job(tmp_path / "0")}):
        assert conflict_in(tmp_path, cells) is None
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    for cells in ({}, {Path(): job(tmp_path)}, {Path("0"): job(tmp_path / "0")}):
        assert str(conflict_in(tmp_path, cells)).startswith(f"holds {name}")


def job(folder: Path) -> Job:
    return Job(small(), folder, ())


@cache
def small() -> Config:
    return config("model=vgg16")
