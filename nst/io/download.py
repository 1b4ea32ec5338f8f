"""A file from a server, checked against its hash, with no server able to hold us up."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import Progress

log = logging.getLogger(__name__)

TIMEOUT = (10.0, 30.0)  # seconds to connect, and seconds without a byte
STALL_SECONDS = 60.0  # over which a server must send FLOOR bytes a second
FLOOR = 16 * 1024
DEADLINE_SECONDS = 2 * 3600.0  # of one download

T = TypeVar("T")


class UnusableError(Exception):
    """A source has not what is wanted, or something else; why, as a clause."""


def download(url: str, sha256: str, path: Path) -> None:
    """Write what `url` serves to `path`, checked against (the start of) its hash."""
    import requests  # late, here and below: mostly there is nothing to fetch

    console = Console(stderr=True)
    plain = {"Accept-Encoding": "identity"}
    with (
        reasons(url),
        within(lambda: requests.get(url, headers=plain, timeout=TIMEOUT, stream=True)) as response,
        path.open("wb") as file,
        Progress(console=console, disable=not console.is_terminal) as progress,
    ):
        response.raise_for_status()
        name = url.rpartition("/")[2]
        size = int(response.headers.get("Content-Length", 0))
        log.info("downloading %s, %.0f MB", name, size / 1e6)
        task = progress.add_task(name, total=size or None)
        digest = hashlib.sha256()
        began = window_began = time.monotonic()
        window = 0
        # `read1` hands over what has come. `read` would wait for a whole block, and a server that
        # drips a byte at a time would keep us there, each byte in good time.
        while block := response.raw.read1(1 << 20):
            file.write(block)
            digest.update(block)
            progress.advance(task, len(block))
            window += len(block)
            now = time.monotonic()
            if now - window_began > STALL_SECONDS:
                if window < FLOOR * STALL_SECONDS:
                    raise TimeoutError
                log.info("downloading %s, at %.0f MB", name, file.tell() / 1e6)
                window_began, window = now, 0
            if now - began > DEADLINE_SECONDS:
                raise TimeoutError
    if not digest.hexdigest().startswith(sha256):
        raise UnusableError(f"what {urlsplit(url).hostname} sent has not the known sha256")


def within(act: Callable[[], T]) -> T:
    """Return what `act` does, or raise TimeoutError when it has taken too long.

    The timeouts of `requests` bound neither a slow resolver nor headers that come in drips.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(act())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future.result(sum(TIMEOUT))


@contextmanager
def reasons(url: str) -> Iterator[None]:
    """Say in a few words why a server did not deliver; never the URL, which may hold a password."""
    import requests
    import urllib3.exceptions

    host = urlsplit(url).hostname or url
    try:
        yield
    except (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise UnusableError(f"{host} did not answer, or too slowly") from error
    except urllib3.exceptions.HTTPError as error:
        raise UnusableError(f"{host} broke off") from error
    except requests.RequestException as error:
        if error.response is not None:
            raise UnusableError(f"{host} answered {error.response.status_code}") from error
        unresolved = "NameResolutionError" in str(error)
        raise UnusableError(f"could not {'resolve' if unresolved else 'reach'} {host}") from error
