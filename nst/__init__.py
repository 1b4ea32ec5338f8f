"""A laboratory for optimisation-based neural style transfer; from a notebook: `docs/library.md`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nst.api import Cell, IterationInfo, Painting, Run, load_run, paint, score

__all__ = ["Cell", "IterationInfo", "Painting", "Run", "load_run", "paint", "score"]


def __getattr__(name: str) -> object:
    """The public API, imported when it is asked for: PyTorch takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nst import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
