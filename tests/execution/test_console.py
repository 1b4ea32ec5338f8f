"""What a person reads at the end."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from nst.execution import console
from nst.execution.console import summarize
from nst.runs.job import Result
from nst.runs.record import RunRecord, Status


def shown(results: list[Result], width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of the summary on so wide a console."""
    to = Console(file=StringIO(), color_system=None, width=width)
    monkeypatch.setattr(console, "console", to)
    summarize(results, 1.0, ["folder  x"])
    assert isinstance(to.file, StringIO)
    return to.file.getvalue().splitlines()


def result(folder: Path, name: str, **scores: float) -> Result:
    """That of a finished run, with its record."""
    folder.mkdir()
    RunRecord(name=name, status=Status.FINISHED, scores=scores).write(folder)
    return Result(folder, name, 12345.678, None)


def test_the_summary_has_scores_and_what_tells_cells_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = "/a/folder/that/is/as/long/as/those/of/people/are"
    results = [
        result(tmp_path / "0", f"images.content={far}/cat.png hydra/launcher=a", lpips_content=0.1234),
        result(tmp_path / "1", f"images.content={far}/dog.png hydra/launcher=a", style_distance=1.5),
        Result(tmp_path / "2", f"images.content={far}/cow.png", float("nan"), "no such file"),
    ]
    for width in (80, 10_000):
        head, *lines = shown(results, width, monkeypatch)
        assert head.split() == ["cell", "loss", "LPIPS", "style"]
        text = "\n".join(lines)
        assert all(name in text for name in ("cat.png", "dog.png", "cow.png", "12346", "0.123", "1.500"))
        assert far not in text
        assert max(map(len, lines)) <= max(width, 80)
    assert "0 images.content=cat.png hydra/launcher=a 12346 0.123 finished" in " ".join(lines[0].split())


def test_folders_are_shown_where_they_tell_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [result(tmp_path / name, f"images.content={name}/cat.png") for name in ("a", "b")]
    lines = shown(results, 10_000, monkeypatch)
    assert "images.content=a/cat.png" in lines[1]
    assert "images.content=b/cat.png" in lines[2]


def test_one_cell_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown([result(tmp_path / "0", "seed=1")], 80, monkeypatch)
    assert lines[1].split() == ["0", "seed=1", "12346", "finished"]
    assert lines[2].startswith("1 of 1 cell finished in 1.0 s")
