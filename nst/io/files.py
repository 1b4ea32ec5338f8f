"""Files that appear whole or not at all."""

import errno
import hashlib
import io
import json
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

from nst.errors import NstError
from nst.io.text import escape_unprintable

log = logging.getLogger(__name__)

LARGEST_JSON = 16 << 20  # bytes: a run of a million frames has 12 MB of run.json


def cache_folder() -> Path:
    """Where what takes long to get is kept for all runs of a user: weights, tables; it need not be there."""
    return Path(os.environ.get("NST_CACHE") or "~/.cache/nst-lab").expanduser()


def open_regular(path: Path) -> BufferedReader:
    """A file, opened to be read.

    Raises:
        OSError: also for a link, which may lead anywhere, and for a FIFO or a device, which may never end.
    """
    try:
        # Without O_NONBLOCK the opening of a FIFO waits for somebody who writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a link, and links are not followed", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def open_text(path: Path) -> TextIO:
    """The same for text; line breaks stay as they are."""
    return io.TextIOWrapper(open_regular(path), encoding="utf-8", newline="")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, which is what hashlib is fastest at; OSError if it cannot be read."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_regular(path: Path) -> bool:
    """Whether there is a file, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def folders_with(name: str, top: Path) -> Iterator[Path]:
    """The folders at `top` and below, in order, that have something of that name; no link is followed."""
    for folder, inside, files in os.walk(top):
        inside.sort()
        if name in files or name in inside:
            yield Path(folder)


def load_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds something else, or more than `LARGEST_JSON` bytes.
    """
    with open_regular(path) as file:
        content = file.read(LARGEST_JSON + 1)
    if len(content) > LARGEST_JSON:
        raise ValueError(f"more than {LARGEST_JSON:,} bytes")
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("too deeply nested") from None
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is none, and, with one warning, if it cannot be read."""
    try:
        return load_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        warn_skipped(path, format_error(error, path))
        return {}


@cache
def warn_skipped(path: Path, reason: str) -> None:
    """Warn, once a process, that a file is not used; `reason` says why, and may begin with its name."""
    named = "" if reason.startswith(f"{path}: ") else f"{escape_unprintable(str(path))}: "
    log.warning("%s%s; passed over", named, reason)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place in one step.

    The temporary name keeps the suffix, because encoders choose their format by it. The file is there,
    empty, and of the mode that the umask gives. On any exception it is removed and `path` stays as it was.
    """
    temporary = _beside(path)
    # Not tempfile's: it makes files that only their owner reads, and a result is for all the umask lets in.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # on a disk that is read-only now; what happened first is what counts
            temporary.unlink()
        raise


def atomic_copy(source: Path, target: Path, link: bool = False) -> None:
    """Give `target` what the file `source` holds, whole or not at all; nothing of `source` is changed.

    Args:
        link: make it a hard link, where both are on one file system. Only to a file of our own, because
            whoever owns it may change its mode, and for files that are never written in place.

    Raises:
        OSError: also if `source` is a link, a FIFO or a device.
    """
    with open_regular(source) as read:
        if link and os.fstat(read.fileno()).st_uid == os.geteuid() and _linked(source, target):
            return
        with atomic_write(target) as temporary, temporary.open("wb") as written:
            shutil.copyfileobj(read, written)


def _linked(source: Path, target: Path) -> bool:
    temporary = _beside(target)
    try:
        os.link(source, temporary, follow_symlinks=False)
        temporary.replace(target)
    except OSError:  # another file system, or one without links
        return False
    finally:
        temporary.unlink(missing_ok=True)  # it stays where `target` was a link to the same file already
    return True


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.stem}-{uuid4().hex[:8]}{path.suffix}")


def unshare(path: Path) -> None:
    """See to it that what is written to `path` in place is written to no other file.

    A link, a FIFO or a device there is removed, and a file of several hard links becomes one of its own.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISREG(found.st_mode):
        if found.st_nlink > 1:
            atomic_copy(path, path)
    elif not stat.S_ISDIR(found.st_mode):
        path.unlink()


def format_error(error: BaseException, path: Path) -> str:
    """What went wrong at `path`, in one line; an `OSError` does not always say where."""
    if not isinstance(error, OSError) or error.strerror is None:
        return escape_unprintable(" ".join(str(error).split())) or type(error).__name__
    return escape_unprintable(f"{error.filename or path}: {error.strerror}")


def check_free_space(folder: Path, size: int) -> None:
    """Refuse a folder whose disk does not take a file of `size` bytes.

    Raises:
        NstError: what is wrong with the disk, and what is needed.
    """
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    try:
        free = shutil.disk_usage(there).free
        if free < size:
            raise OSError(errno.ENOSPC, f"{free / 2**20:.1f} MiB are free, {size / 2**20:.1f} MiB are needed")
        with tempfile.NamedTemporaryFile(prefix=".room-", dir=there) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise NstError(
            f"{there}: {error.strerror}; make room or give another place (outputs=FOLDER), then run the "
            "same command again: what is finished is taken as it is"
        ) from error


def final_name(name: str) -> str:
    """The name that a file is to have, of which `write_whole` has left a temporary one; else `name`."""
    while found := re.fullmatch(
        r"\.(.+)-[a-z0-9_]{8}(\.[^.]+)?", name
    ):  # one may be written by way of another
        name = found[1] + (found[2] or "")
    return name


def discard_temporaries(folder: Path, names: Collection[str]) -> None:
    """Remove what `write_whole` left of files of these names where its process was killed."""
    for path in folder.glob(".*-*"):
        if path.name != final_name(path.name) in names and path.is_file():
            path.unlink(missing_ok=True)
