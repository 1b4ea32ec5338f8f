"""What is typed before Hydra takes it: options in any place, a closed pipe, globs of files, --help."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from support.command import command
from support.driven import JARGON, driven, on_small

import nst.report.build
import nst.report.same_loss
from nst.config.paths import ROOT
from nst.errors import NstError
from nst.execution.sweep_values import values_of


@pytest.mark.parametrize("place", [0, 1, 2])
def test_options_may_be_anywhere(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["seed=3", "optimizer=adam"]
    arguments.insert(place, "-m")
    small = [part for part in on_small([]) if part != "-m"]
    ended = driven([*arguments, *small], monkeypatch)
    assert ended.code is None, ended
    assert ended.job is not None
    assert ended.job.config.seed == 3


@pytest.mark.parametrize(
    "arguments", [["--nope"], ["seed=1", "--cfg"], ["--cfg", "nope"], ["-m", "-x", "seed=1"]]
)
def test_a_wrong_option_is_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = driven(arguments, monkeypatch)
    assert ended.code == 2
    [line] = ended.err.splitlines()
    assert line.startswith("error: ")
    assert line.endswith("`--help` says what is taken")


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, str(ROOT / "run.py"), "--cfg", "all"]
    done = subprocess.run(command, cwd=tmp_path, stdout=writes, stderr=subprocess.PIPE, timeout=300)
    os.close(writes)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("main", [nst.report.build.main, nst.report.same_loss.main])
def test_help_is_no_folder(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "folder" in capsys.readouterr().out.lower()


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "deep").mkdir()
    for name in ("b.png", "a b.png", "c'd,${x}=[1].png", "deep/e.png", "d.jpg"):
        shutil.copy(ROOT / "data/cat.png", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("glob(*.png)", ["a b.png", "b.png", "c'd,${x}=[1].png"]),
        ("glob(b.*)", ["b.png"]),
        ("glob(./deep/*)", ["deep/e.png"]),
        ("glob(**/*.png,exclude=c*)", ["a b.png", "b.png", "deep/e.png"]),
        ("glob([*.png,*.jpg,b*],exclude=[c*,a*])", ["b.png", "d.jpg"]),
        ("glob(*)", ["a b.png", "b.png", "c'd,${x}=[1].png", "d.jpg"]),
    ],
)
def test_a_glob_finds_files_in_order(pattern: str, found: list[str], pictures: Path) -> None:
    parser = OverridesParser.create()
    values = values_of(parser.parse_override(f"images.content={pattern}"))
    parsed = [parser.parse_override(f"images.content={value}").value() for value in values]
    assert [str(value).replace("\\${", "${") for value in parsed] == found


@pytest.mark.parametrize("pattern", ["glob(*.gif)", "glob(nope/*)", "glob(deep)"])
def test_a_glob_of_no_files_is_named(pattern: str, pictures: Path) -> None:
    with pytest.raises(NstError, match="no such file in"):
        values_of(OverridesParser.create().parse_override(f"images.style={pattern}"))


@pytest.mark.parametrize("sweeper", ["presets", "basic"])
@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("seed=range(3,3)", "cells|nothing to sweep over"),
        ("images.content=glob(*.gif)", "cells|no such file in"),
        ("seed=interval(0,1)", "interval|support sweep type"),
        ('hydra.sweeper.params={seed:""}', "must be a whole number|NoneType"),
    ],
)
def test_a_sweep_over_nothing_is_one_line(
    sweeper: str, argument: str, says: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = driven(on_small(["-m", f"hydra/sweeper={sweeper}", argument]), monkeypatch)
    assert ended.code == 2, ended
    [line] = [line for line in ended.err.splitlines() if not line.startswith("warning: ")]
    assert line.startswith("error: ")
    assert any(part in line for part in says.split("|"))
    assert sweeper == "basic" or not any(word in line for word in (*JARGON, "BasicSweeper", "ValueError"))


@pytest.mark.parametrize(
    "argument", ["seed=3", "seed=choice(3)", "seed=range(3,4)", "images.content=glob(b.*)"]
)
def test_a_sweep_over_one_is_painted(argument: str, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = driven(on_small(["-m", argument]), monkeypatch)
    assert ended.code is None, ended
    assert ended.job is not None


def test_a_sweep_over_files_has_a_cell_for_each(pictures: Path) -> None:
    ended = command(pictures, *on_small(["-m", "images.content=glob(*.png)", "seed=1,2", "plan=true"]))
    assert (ended.code, ended.errors) == (0, []), ended
    assert "6 cells: " in ended.out
    assert not (pictures / "outputs").exists()
