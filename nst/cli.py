"""From exceptions to one line and an exit code."""

import os
import sys
from collections.abc import Callable

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from nst.errors import NstError

FULL = "HYDRA_FULL_ERROR"


def guarded(main: Callable[[], object]) -> int:
    """Run a Hydra application; what goes wrong is one line on stderr and an exit code.

    Hydra prints what it catches over several lines, with a stack trace for what it does not know. It lets
    everything through when HYDRA_FULL_ERROR is set, so it is set here, and what it would have
    caught is caught here; a person who sets it themselves sees the trace.

    Returns:
        0; 1 where something unforeseen happened; 2 where a config cannot be painted; 130 for Ctrl-C.
    """
    wanted = os.environ.get(FULL) == "1"
    os.environ[FULL] = "1"
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (NstError, HydraException, OmegaConfBaseException, OSError) as error:
        if wanted:
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except Exception as error:
        if wanted:
            raise
        print(
            f"error: {type(error).__name__}: {one_line(error)} (not foreseen; {FULL}=1 shows where)",
            file=sys.stderr,
        )
        return 1
    return 0


def one_line(error: BaseException) -> str:
    """Hydra's and OmegaConf's messages, and those of their causes, on one line."""
    parts = [str(error)]
    cause = error.__cause__
    if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException):
        parts.append(str(cause))
    lines = [line.strip() for part in parts for line in part.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("object_type=", "reference_type="))]
    return "; ".join(dict.fromkeys(kept))
