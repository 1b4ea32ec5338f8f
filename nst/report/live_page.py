"""The page of a sweep or a run while it is painted."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from nst.errors import NstError
from nst.report.outputs_index import refresh_index
from nst.report.page import write_page

log = logging.getLogger(__name__)

SECONDS_TO_BEGIN = 3.0  # after which it is tried again while there is nothing to show
SECONDS_A_PAGE = 30.0
MOST_OF_TIME = 0.05  # that making pages may take
SECONDS_TO_STOP = 5.0  # that somebody who stops it waits for a page that is being made


@contextmanager
def live_page(folder: Path, outputs: Path) -> Iterator[None]:
    """Make the page of a sweep or a run now and then, on a thread of its own, while it is painted inside.

    When this is left nothing more is written; what breaks the painting off leaves a page that says so.

    Args:
        folder: of the sweep or the run.
        outputs: above it; its page lists the folder from the start.
    """
    over = Event()
    # A daemon, because a process has to end even while a disk keeps the thread waiting.
    thread = Thread(target=_make, args=(folder, outputs, over), name="page", daemon=True)
    thread.start()
    try:
        yield
        over.set()
        thread.join()
    except BaseException:
        over.set()
        thread.join(SECONDS_TO_STOP)
        if not thread.is_alive() and (folder / "index.html").is_file():
            with suppress(Exception):  # what broke it off is what counts
                write_page(folder, painting=False)
        raise


def _make(folder: Path, outputs: Path, over: Event) -> None:
    wait, listed = SECONDS_TO_BEGIN, False
    while not over.wait(wait):
        began = time.monotonic()
        try:
            write_page(folder, painting=True)
        except (NstError, OSError) as error:  # nothing is there yet; at the end this is said for all to see
            log.debug("%s", error)
            continue
        except Exception:  # a view of the painting must not cost the painting
            log.debug("no page while painting", exc_info=True)
            return
        if not listed and not over.is_set():
            refresh_index(outputs)
            listed = True
        wait = max(SECONDS_A_PAGE, (time.monotonic() - began) / MOST_OF_TIME)
