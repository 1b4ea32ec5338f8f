"""The logger in a process of its own: MLflow's import is seconds of Python, and the painter's would wait."""

import atexit
from collections.abc import Callable
from pathlib import Path

from nst.errors import NstError
from nst.io.child_process import ChildDied, ChildProcess
from nst.io.credentials import variables_needed
from nst.tracking.client import Store, TrackingUnavailable, import_mlflow, log_command

Act = Callable[[Path, Store], object]


class LoggingProcess(ChildProcess):
    """Does what the logger does, one act after the other, in a process that imports MLflow meanwhile."""

    def __init__(self, store: Store) -> None:
        super().__init__("tracking", import_mlflow, store)
        self.store = store
        atexit.register(self.stop)

    def perform(self, act: Act, folder: Path) -> None:
        """Do `act`, a function of `nst.tracking.logger`, there.

        Raises:
            TrackingUnavailable: the store did not answer, or that process died.
            NstError: this folder cannot be logged.
        """
        try:
            said = self.call(_said, act, folder.absolute(), self.store)
        except ChildDied as error:
            if self._stopped:
                return
            later = f"`{log_command(self.store, 'FOLDER')}`{variables_needed()} logs what is missing"
            raise TrackingUnavailable(
                f"tracking.uri={self.store.uri}: the process that logs died (exit code {error.code}); "
                f"nothing is lost: {later}"
            ) from error
        if said:
            kind, text = said
            raise kind(text)


def _said(act: Act, folder: Path, store: Store) -> tuple[type[NstError], str] | None:
    """What is to be raised."""
    try:
        act(folder, store)
    except TrackingUnavailable as error:
        return TrackingUnavailable, str(error)
    except NstError as error:
        return NstError, str(error)
    except Exception as error:  # a view of the results must not cost the results
        return TrackingUnavailable, f"tracking.uri={store.uri}: {type(error).__name__}: {error}"
    return None
