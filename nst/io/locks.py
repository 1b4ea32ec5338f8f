"""Folders that a process paints in, kept from others for as long as it lives."""

from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".nst.lock"
_held: dict[Path, FileLock] = {}


def lock_dir(folder: Path) -> bool:
    """Make a folder, and keep it from other processes; False if another one has it."""
    folder = folder.resolve()
    if folder in _held:
        return True
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    _held[folder] = lock
    return True


def unlock_dir(folder: Path) -> None:
    """Let others have a folder; when a process ends, however it does, so do its claims."""
    lock = _held.pop(folder.resolve(), None)
    if lock is not None:
        lock.release()


def is_locked(folder: Path, other: bool = False) -> bool:
    """Whether any process has it, or, with `other`, any but this one.

    So it seems where its lock is not ours to open.
    """
    folder = folder.resolve()
    if folder in _held:
        return not other
    if not (folder / LOCK).is_file():
        return False
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, PermissionError):
        return True
    lock.release()
    return False
