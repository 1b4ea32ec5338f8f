"""Locks of folders, between this process and another one."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nst.config.paths import ROOT
from nst.io.locks import is_locked, lock_dir, unlock_dir

# Answers each line of "NAME FOLDER" with what that function of ours returns.
OTHER = """
import sys
from pathlib import Path
from nst.io import locks
for line in sys.stdin:
    name, folder = line.rstrip("\\n").split(" ", 1)
    print(getattr(locks, name)(Path(folder)), flush=True)
"""


class Other:
    """Another process, which does what it is told."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, "-c", OTHER], cwd=ROOT, stdin=pipe, stdout=pipe)

    def does(self, name: str, folder: Path) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{name} {folder}\n".encode())
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().strip()

    def kill(self) -> None:
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL


@pytest.fixture
def other() -> Iterator[Other]:
    process = Other()
    with process.process:
        yield process
        process.process.kill()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Held by this process, and let go at the end of the test."""
    assert lock_dir(folder)
    try:
        yield
    finally:
        unlock_dir(folder)


def test_a_folder_is_made_and_kept_from_others(other: Other, tmp_path: Path) -> None:
    folder = tmp_path / "sweep/0"
    with locked(folder):
        assert folder.is_dir()
        assert lock_dir(folder)  # what we have already
        assert other.does("lock_dir", folder) == "False"
        assert other.does("is_locked", folder) == "True"
        assert is_locked(folder)
        assert not is_locked(folder, other=True)
    assert not is_locked(folder)
    assert other.does("lock_dir", folder) == "True"


def test_what_another_process_has_is_free_when_it_is_killed(other: Other, tmp_path: Path) -> None:
    assert other.does("lock_dir", tmp_path) == "True"
    assert not lock_dir(tmp_path)
    assert is_locked(tmp_path)
    assert is_locked(tmp_path, other=True)
    other.kill()
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        assert not is_locked(tmp_path, other=True)


def test_what_another_process_lets_go_is_free(other: Other, tmp_path: Path) -> None:
    assert other.does("lock_dir", tmp_path) == "True"
    other.does("unlock_dir", tmp_path)
    with locked(tmp_path):
        assert other.does("lock_dir", tmp_path) == "False"


def test_looking_takes_nothing_and_makes_nothing(other: Other, tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "nothing")
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass
    assert not is_locked(tmp_path)
    assert other.does("lock_dir", tmp_path) == "True"


def test_a_link_is_the_folder_that_it_leads_to(
    other: Other, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    with locked(Path("link")):
        assert is_locked(tmp_path / "real")
        assert other.does("lock_dir", tmp_path / "real") == "False"
    assert other.does("lock_dir", tmp_path / "link") == "True"


def test_a_folder_that_is_not_ours_cannot_be_let_go(other: Other, tmp_path: Path) -> None:
    assert other.does("lock_dir", tmp_path) == "True"
    unlock_dir(tmp_path)
    assert is_locked(tmp_path, other=True)
