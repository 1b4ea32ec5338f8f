"""What a program ends with: its exit code and its one line."""

import gc
import subprocess
import sys
from collections.abc import Callable

import pytest

from nst.cli import check_overrides, quote_home, run_app
from nst.errors import NstError
from nst.io.garbage import imported


def _raise(error: BaseException) -> Callable[[], object]:
    def main() -> object:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (NstError("size=0: too small"), 2, "error: size=0: too small"),
        (OSError(28, "No space left on device"), 2, "error: [Errno 28] No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            RuntimeError("two\nlines"),
            1,
            "error: RuntimeError: two; lines (not foreseen; HYDRA_FULL_ERROR=1 shows where)",
        ),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert run_app(_raise(error)) == code
    assert capsys.readouterr().err == line + "\n"


def test_nothing_wrong_is_0(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert run_app(lambda: 3.5) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("arguments", "code"), [("--help", 0), ("--cfg job", 0), ("optimizer=foo", 2)])
def test_what_paints_nothing_imports_no_torch(arguments: str, code: int) -> None:
    """Help, a config, and what Hydra refuses: PyTorch alone takes seconds to import."""
    say = (
        "import sys; from nst.main import main\n"
        "try: code = main()\n"
        "except SystemExit as end: code = end.code\n"  # Hydra's, after its help
        "print('ended', code, {'torch', 'matplotlib', 'mlflow', 'requests'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", say, *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"ended {code} set()"
    assert ("content_layers" in done.stdout) is (code == 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--hepl"], "did you mean --help?"),
        (["-m", "--cfg", "job", "seed=1,2"], "plan=true"),
        (["seed=1,2"], "add -m"),
    ],
)
def test_options_of_hydra_are_explained(
    arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    assert run_app(lambda: None) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert says in line


@pytest.mark.parametrize(
    ("typed", "quoted"),
    [
        ("images.content=~/me.jpg", 'images.content="~/me.jpg"'),
        ("images.content=~/a b.jpg,c.jpg", 'images.content="~/a b.jpg",c.jpg'),
        ("images.style=[a.jpg,~ann/b.jpg]", 'images.style=[a.jpg,"~ann/b.jpg"]'),
        ("images.content=glob(~/*.jpg)", 'images.content=glob("~/*.jpg")'),
        ("images.content='~/me.jpg'", "images.content='~/me.jpg'"),
        ("images.content=a~b.jpg", "images.content=a~b.jpg"),
        ("~hydra/launcher", "~hydra/launcher"),
    ],
)
def test_paths_of_the_home_folder_are_quoted(typed: str, quoted: str) -> None:
    assert quote_home(typed) == quoted
    if typed != "images.content=a~b.jpg":
        check_overrides([quoted], sweep=True)  # Hydra's grammar takes it


def test_garbage_is_searched_again_once_all_is_imported() -> None:
    gc.disable()  # as `nst.main` does
    try:
        imported()
        assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
