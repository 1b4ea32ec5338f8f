"""Under which MLflow run a folder is tracked: its `mlflow.json`."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from nst.io.credentials import without_secrets
from nst.io.text import escape_unprintable
from nst.runs.json_record import RecordFile, as_flag, as_text, json_key
from nst.tracking.client import absolute_uri, local_path


@dataclass(frozen=True, kw_only=True)
class TrackedRun(RecordFile):
    """`mlflow.json` of a run or sweep directory.

    Attributes:
        uri: of the store.
        experiment_id, run_id: in the store.
        half: whether some of the folder is not logged yet.
    """

    NAME = "mlflow.json"
    NEEDED = ("uri", "experiment_id", "run_id")

    uri: str = json_key(as_text, "")
    experiment_id: str = json_key(as_text, "")
    run_id: str = json_key(as_text, "")
    half: bool = json_key(as_flag, False)

    @property
    def address(self) -> str | None:
        """The page of the run; None if the store is no server."""
        if not is_server(self.uri):
            return None
        place = f"#/experiments/{self.experiment_id}/runs/{self.run_id}"
        # MLflow's page is else laid out for language models.
        query = "?workflowType=machine_learning"
        return escape_unprintable(f"{_shown(self.uri).rstrip('/')}/{place}{query}")

    @property
    def command(self) -> str | None:
        """The command that serves a store that is a file or a folder; None for any other."""
        return serve_command(self.uri) if local_path(self.uri) else None


def tracked_run(folder: Path) -> TrackedRun | None:
    """Where MLflow has a run or a sweep directory; None if it is not tracked."""
    found = TrackedRun.read(folder, lenient=True)
    return found if found.uri and found.experiment_id and found.run_id else None


def is_server(uri: str) -> bool:
    """Whether a store is reached over HTTP."""
    return re.match("https?://", uri) is not None


def serve_command(uri: str) -> str:
    """The command that serves a store that is no server."""
    allowed = "MLFLOW_ALLOW_FILE_STORE=true " if _shown(uri).startswith("file:") else ""
    return escape_unprintable(
        f"{allowed}mlflow ui --host 127.0.0.1 --backend-store-uri {shlex.quote(_shown(uri))}"
    )


def _shown(uri: str) -> str:
    return without_secrets(absolute_uri(uri))
