"""Folders kept from other processes; a second lock on the same file stands for another process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from nst.io.locks import LOCK, is_locked, lock_dir, unlock_dir


@contextmanager
def another_process(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "deep/sweep"
    unlock_dir(tmp_path / "deep/sweep")


def test_a_folder_is_made_and_kept(folder: Path) -> None:
    assert not is_locked(folder)
    assert not folder.exists()  # to ask makes nothing
    assert lock_dir(folder)
    assert folder.is_dir()
    assert is_locked(folder)
    assert not is_locked(folder, other=True)
    unlock_dir(folder)
    assert not is_locked(folder)


def test_a_folder_is_ours_under_any_name_and_as_often_as_we_ask(folder: Path) -> None:
    assert lock_dir(folder)
    assert lock_dir(folder / "../sweep")
    (folder.parent / "link").symlink_to(folder)
    assert is_locked(folder.parent / "link")
    unlock_dir(folder.parent / "link")
    unlock_dir(folder)  # what is not ours is let go of without a word
    assert not is_locked(folder)


def test_what_another_process_has_is_not_ours(folder: Path) -> None:
    with another_process(folder):
        assert not lock_dir(folder)
        assert is_locked(folder)
        assert is_locked(folder, other=True)
    assert not is_locked(folder, other=True)
    assert lock_dir(folder)


def test_others_are_kept_out(folder: Path) -> None:
    lock_dir(folder)
    other = FileLock(folder / LOCK)
    with pytest.raises(TimeoutError):
        other.acquire(timeout=0)
    unlock_dir(folder)
    with other.acquire(timeout=0):
        assert is_locked(folder)
