"""Under which MLflow run a folder is tracked: its `mlflow.json`."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nst.io.credentials import without_secrets
from nst.io.text import escape_unprintable
from nst.runs.json_record import RecordFile, as_count, as_flag, as_list, as_text, json_key
from nst.tracking.client import absolute_uri, local_path


def _steps(value: Any) -> list[int]:
    return [as_count(step) for step in as_list(value)]


@dataclass(frozen=True, kw_only=True)
class TrackedRun(RecordFile):
    """`mlflow.json` of a run or sweep directory.

    Attributes:
        uri: of the store.
        experiment_id, run_id: in the store.
        half: whether an attempt to log it broke off, so that it is to be replaced.
        painting: when the run that is painted, and logged meanwhile, was `started`.
        last: the iteration up to which its curves are logged; None if none is.
        steps: the iterations of the canvases that are logged.
    """

    NAME = "mlflow.json"
    NEEDED = ("uri", "experiment_id", "run_id")

    uri: str = json_key(as_text, "")
    experiment_id: str = json_key(as_text, "")
    run_id: str = json_key(as_text, "")
    half: bool = json_key(as_flag, False)
    painting: str | None = json_key(as_text)
    last: int | None = json_key(as_count)
    steps: list[int] = json_key(_steps, list)

    @property
    def address(self) -> str | None:
        """The page of the run; None if the store is no server."""
        return self.page(self.uri) if is_server(self.uri) else None

    def page(self, uri: str) -> str:
        """The page of the run, on a server at an address."""
        return self._page(uri, f"/{self.run_id}")

    def runs_page(self, uri: str) -> str:
        """The page of all runs of its experiment."""
        return self._page(uri)

    def _page(self, uri: str, run: str = "") -> str:
        place = f"#/experiments/{self.experiment_id}/runs{run}"
        # MLflow's pages are else laid out for language models.
        query = "?workflowType=machine_learning"
        return escape_unprintable(f"{_shown(uri).rstrip('/')}/{place}{query}")

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
