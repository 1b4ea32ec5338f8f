"""The files of a run or sweep directory as artifacts, and back."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from nst.errors import NstError
from nst.io.files import atomic_copy, final_name, is_regular, open_regular
from nst.runs.record import OUTPUT_FILES, RunRecord, SweepRecord
from nst.runs.study_record import StudyRecord
from nst.runs.verdict_record import VerdictRecord
from nst.tracking.client import Store, absolute_uri, checked_id, connect, local_path

if TYPE_CHECKING:
    from mlflow.entities import RunInfo
    from mlflow.tracking import MlflowClient

# What is sent of a folder: what we wrote there, and nothing else that may lie in it. Each file is a request:
# those of a run that a person looks at in MLflow, which has the curves and the settings of its own, go alone.
SHOWN = tuple(name for name in OUTPUT_FILES if name.startswith(("canvas.", "film.")))
CONFIG = (".hydra/config.yaml", ".hydra/overrides.yaml", ".hydra/hydra.yaml")
PACKED = (*(name for name in OUTPUT_FILES if name not in SHOWN), *CONFIG, RunRecord.NAME, "nst.log")
ARCHIVE = "run.zip"  # the others: with them a run can be painted again
SHEETS = ("sheet.png", "sheet.mp4", "sheet.webp", "front.png", "index.html")
STUDY_FILES = (StudyRecord.NAME, VerdictRecord.NAME, "verdict.png")
SWEEP_FILES = (*SHEETS, *STUDY_FILES, SweepRecord.NAME, "search.json", "multirun.yaml")


def stage_run(folder: Path, stage: Path) -> None:
    """Put what is sent of a run directory into `stage`."""
    copy_known(folder, SHOWN, stage)
    with ZipFile(stage / ARCHIVE, "w") as archive:
        for name in PACKED:
            if is_regular(folder / name):
                with open_regular(folder / name) as file:
                    archive.writestr(ZipInfo(name), file.read(), ZIP_DEFLATED, compresslevel=1)


def _unpack(folder: Path) -> None:
    """Put the files of an archive into its folder; runs that were logged before have none."""
    path = folder / ARCHIVE
    if not path.is_file():
        return
    with ZipFile(path) as archive:
        for name in set(archive.namelist()).intersection(PACKED):  # and no path that leads out of it
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(archive.read(name))
    path.unlink()


def copy_known(folder: Path, names: Sequence[str], stage: Path) -> None:
    """Copy those of the named files that are there; no link is followed."""
    for name in names:
        if is_regular(folder / name):
            (stage / name).parent.mkdir(exist_ok=True)
            atomic_copy(folder / name, stage / name)


def upload(client: "MlflowClient", info: "RunInfo", stage: Path) -> None:
    """Send the files in `stage`; MLflow's own function asks for the run first, to know where to."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository: Any = get_artifact_repository(info.artifact_uri, client.tracking_uri)
    repository.log_artifacts(str(stage))


def picture(run_id: str, path: Path) -> str:
    """Markdown that shows an artifact in a run's description; empty if there is no such file."""
    name = final_name(path.name)
    return f"![{name}](get-artifact?path={name}&run_uuid={run_id})" if path.is_file() else ""


def fetch_run(run_id: str, uri: str, folder: Path) -> None:
    """Download the files of a run directory that was logged into `folder`.

    Raises `NstError` when there is no such run, `TrackingUnavailable` when the store does not answer.
    """
    from mlflow.exceptions import MlflowException

    store = Store(absolute_uri(uri), "", 0)
    path = local_path(uri)
    none = NstError(f"{run_id}: no such folder, and no such run in {uri}; give one of them")
    if path and not path.exists():
        raise none
    with connect(store) as client:
        try:
            checked_id(client.get_run(run_id).info.run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise none from error
        client.download_artifacts(run_id, "", str(folder))
    try:
        _unpack(folder)
    except (BadZipFile, EOFError, ValueError, zlib.error) as error:
        said = f"{run_id}: its {ARCHIVE} cannot be read ({error}); give the folder of the run"
        raise NstError(said) from error
