"""What a program ends with: its exit code and its one line."""

import sys
from collections.abc import Callable

import pytest

from nst.cli import run_app
from nst.errors import NstError


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
