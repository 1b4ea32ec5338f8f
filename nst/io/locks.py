"""Folders that this process paints in, locked against others for as long as it lives."""

from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".nst.lock"
_held: dict[Path, FileLock] = {}


def lock_dir(folder: Path) -> bool:
    """Make a folder and lock it for this process; False if another process has it."""
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
    """Unlock a folder. When a process ends, however it does, its locks end too."""
    lock = _held.pop(folder.resolve(), None)
    if lock is not None:
        lock.release()


def is_locked(folder: Path, other: bool = False) -> bool:
    """Whether any process has locked it, or, with `other`, any but this one.

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
