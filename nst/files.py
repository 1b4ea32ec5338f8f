"""Files that appear whole or not at all."""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nst.errors import NstError
from nst.text import visible


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is none that can be read."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` to `path`, whole or not at all."""
    with write_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place in one step.

    The temporary name keeps the suffix, because encoders choose their format by it. On any
    exception it is removed and `path` stays as it was.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files that only their owner reads; a result is for everyone the umask lets in.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def trouble(error: BaseException, path: Path) -> str:
    """What went wrong at `path`, in one line; an `OSError` does not always say where."""
    if not isinstance(error, OSError) or error.strerror is None:
        return visible(" ".join(str(error).split())) or type(error).__name__
    return visible(f"{error.filename or path}: {error.strerror}")


def check_room(folder: Path, size: int) -> None:
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


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target`, which is not there yet, a second name of a file, or a copy where there are no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def final_name(name: str) -> str:
    """The name that a file is to have, of which `write_whole` has left a temporary one; else `name`."""
    found = re.fullmatch(r"\.(.+)-[a-z0-9_]{8}(\.[^.]+)?", name)
    return name if found is None else found[1] + (found[2] or "")


def discard_temporaries(folder: Path, names: Collection[str]) -> None:
    """Remove what `write_whole` left of files of these names where its process was killed."""
    for path in folder.glob(".*-*"):
        if path.name != final_name(path.name) in names and path.is_file():
            path.unlink(missing_ok=True)
