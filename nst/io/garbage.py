"""Python's search for garbage, switched off where it costs more than it finds."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Inside, nothing is searched: what is imported stays, and looking through it takes long."""
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searching:
            gc.enable()


def imported() -> None:
    """Search again, but not in what there is by now: what was imported, PyTorch too, stays."""
    gc.freeze()
    gc.enable()
