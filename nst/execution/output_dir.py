"""Where a run or a sweep may write: into a folder that is new, empty or its own, else into one beside it.

Its own is a folder of which everything was written by this program for exactly the cells that are asked for:
each run directory in it is that of the cell asked for at its place.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import count
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from omegaconf.errors import OmegaConfBaseException

from nst.config.composed import recorded, typed
from nst.config.film import film_of
from nst.config.schema import Config, TrackingConfig, TrackingName
from nst.errors import NstError
from nst.execution.resolve import identity_of
from nst.io.canvas_format import CanvasFormat
from nst.io.files import final_name, unshare
from nst.io.locks import LOCK, is_locked, lock_dir, unlock_dir
from nst.io.yaml_files import parse_yaml
from nst.runs.job import Job
from nst.runs.record import OUTPUT_FILES, RunRecord, Status, SweepRecord

log = logging.getLogger(__name__)

RUN = frozenset({*OUTPUT_FILES, RunRecord.NAME, "nst.log", "mlflow.json", "index.html"})
HYDRA = frozenset({"config.yaml", "hydra.yaml", "overrides.yaml"})
SWEEP = frozenset(
    {"sweep.json", "multirun.yaml", "sheet.png", "sheet.mp4", "sheet.webp", "index.html", "mlflow.json"}
    | {"study.json", "verdict.json", "verdict.png"}
)
SEARCH = SWEEP | {"search.json", "front.png"}
# Folders for the time of painting, and of what jobs of a cluster print.
FRAMES = "frames"  # the folder of those of a film, whose painter looks into it
TRANSIENT = frozenset({".batches", ".painting", ".slurm"})
# Files that say nothing of a folder: our locks and trials of the disk, and what desktops and NFS leave.
IGNORED = frozenset({LOCK, ".mlflow.lock", ".DS_Store", "Thumbs.db", "desktop.ini"})
IGNORED_BEGINS = (".room-", ".nfs")

Conflict = Callable[[Path], str | None]

_skipped: dict[Path, list[Path]] = {}


def first_usable(named: Path, conflict: Conflict) -> tuple[Path, str | None]:
    """`named`, or the first of NAMED-1, NAMED-2, ... that no other process has and nothing speaks against.

    Returns:
        The folder, and why it is not `named`, where it is not.

    Raises:
        NstError: there can be none.
    """
    skipped, why = list[Path](), None
    for number in count():
        folder = _beside(named, number)
        reason = "another process paints in it" if is_locked(folder, other=True) else conflict(folder)
        if reason is None:
            _skipped[folder.resolve()] = [place.resolve() for place in skipped]
            return folder, why
        skipped.append(folder)
        why = why or reason
    raise AssertionError


def lock_output_dir(named: Path, conflict: Conflict) -> Path:
    """Lock such a folder, and say so where it is not the one that was named.

    Args:
        named: the folder that was asked for.
        conflict: why a folder may not be written into; None if it may.

    Raises:
        NstError: there can be none.
    """
    while True:
        folder, why = first_usable(named, conflict)
        if lock_dir(folder):
            if conflict(folder) is None:
                break
            unlock_dir(folder)  # another process was faster, and is gone
    if why:
        log.warning("%s: %s; painting in %s", named, why, folder)
    return folder


def skipped_dirs(folder: Path) -> list[Path]:
    """The runs and sweeps instead of which this process writes into `folder`, or into one above it."""
    found = next((_skipped[above] for above in (folder, *folder.parents) if above in _skipped), [])
    records = (RunRecord.NAME, SweepRecord.NAME)
    return [place for place in found if any((place / name).is_file() for name in records)]


def leave_config_alone(folder: Path) -> None:
    """Let what Hydra is about to write into a run directory, in place, change no other file."""
    for name in (".hydra", *(f".hydra/{name}" for name in HYDRA)):
        unshare(folder / name)


def cells_in(folder: Path, jobs: Sequence[Job], paths: Sequence[Path]) -> dict[Path, Job]:
    """The jobs of a sweep by their places in its folder.

    Args:
        folder: of the sweep.
        jobs: its cells.
        paths: of their run directories, as they were composed: what is there may be a link.

    Raises:
        NstError: two have the same place.
    """
    cells: dict[Path, Job] = {}
    for job, path in zip(jobs, paths, strict=True):
        place = Path(os.path.relpath(path, folder))
        if place in cells:
            raise NstError(
                f"hydra.sweep.subdir={place}: more than one cell would be painted in it; leave it out, "
                "and each has its number"
            )
        cells[place] = job
    return cells


def conflict_in(folder: Path, cells: Mapping[Path, Job], beside: Collection[str] = SWEEP) -> str | None:
    """Why `folder` may not be written into; None if it is new, empty or that of exactly these cells.

    Args:
        folder: of a sweep, or of a run.
        cells: what is to be painted, by its place in the folder; that of a single run is `Path()`.
        beside: the names of the files that are not in a cell's folder.
    """
    if not folder.is_dir():
        return "is a file" if os.path.lexists(folder) else None
    if not _may_look(folder):
        return "cannot be read"
    sweeps = {Path(), *(place.parent for place in cells)} - cells.keys()
    for place, names in _files(folder, cells):
        known = _names(place, cells, beside if place in sweeps else ())
        for name in names:
            if final_name(name) not in known or not _is_file(folder / place / name):
                return f"holds {place / name}, which does not belong to what is asked for"
        if place in sweeps and "sweep.json" not in names and not all(map(_is_temporary, names)):
            return f"holds {place / min(names)}, which is not of a sweep"
        if place in sweeps and "sweep.json" in names:
            if not SweepRecord.read(folder / place, lenient=True).command:
                return f"{place / 'sweep.json'} in it cannot be read"
        elif place in cells and (reason := _conflict_in_run(folder, place, cells[place], names)):
            return reason
    return next((reason for job in cells.values() if (reason := _holds_inputs(folder, job))), None)


def _files(folder: Path, cells: Mapping[Path, Job]) -> Iterator[tuple[Path, list[str]]]:
    """The folders in `folder` that have files, by their places in it, with the names of those.

    A folder that is a link, or that may not be looked into, counts as a file.
    """
    for path, folders, names in os.walk(folder):
        place = Path(path).relative_to(folder)
        below = {name: Path(path, name) for name in folders}
        closed = [name for name, at in below.items() if at.is_symlink() or not _may_look(at)]
        folders[:] = sorted(set(folders) - TRANSIENT - set(closed))
        if FRAMES in folders and place in cells and film_of(cells[place].config):
            folders.remove(FRAMES)
        names = [name for name in names if name not in IGNORED and not name.startswith(IGNORED_BEGINS)]
        # A run that Hydra has only set up has no file, and one in `.hydra`.
        if names or closed or (place in cells and ".hydra" in folders):
            yield place, sorted([*names, *closed])


def _names(place: Path, cells: Mapping[Path, Job], else_known: Collection[str]) -> Collection[str]:
    """What files of this program may be called at a place in the folder."""
    if place in cells:
        return RUN
    return HYDRA if place.name == ".hydra" and place.parent in cells else else_known


def _may_look(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def _is_file(path: Path) -> bool:
    """Whether it is a file of its own: no link, no pipe."""
    return os.path.isfile(path) and not os.path.islink(path)


def _is_temporary(name: str) -> bool:
    """Whether it is a file that was never completed."""
    return final_name(name) != name


def _conflict_in_run(folder: Path, place: Path, job: Job, names: Sequence[str]) -> str | None:
    """Why `place` in `folder` is not the run directory of a job, or is not to be painted again."""
    cell = "holds one that is" if place == Path() else f"its cell {place} is"
    record = RunRecord.read(folder / place, lenient=True)
    if record.status is Status.MISSING:
        written = [name for name in names if name != "nst.log" and not _is_temporary(name)]
        if written:
            return f"holds {place / written[0]}, which no run has written"
    if record.finished and not job.config.resume:
        return f"{cell} finished, and resume=false paints it again"
    if record.finished and not record.takeable_as(job.config.canvas_format):
        return f"{cell} finished, and canvas_format={job.config.canvas_format.name} paints it again"
    if record.identity:
        same = record.identity == identity_of(job.config)
    else:
        recorded = _recorded_config(folder / place)
        # Hydra may have been killed while it wrote the config; then nothing was begun.
        same = recorded == _what(job.config) or (recorded is None and record.blank)
    return None if same else f"{cell} another than what is asked for"


def _recorded_config(run: Path) -> Config | None:
    """What the config in a run directory asks for; None if there is none, or it cannot be read."""
    path = run / ".hydra/config.yaml"
    try:
        return _read_config(path, path.stat().st_mtime_ns)
    except (NstError, OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException):
        return None


@lru_cache(maxsize=4096)
def _read_config(path: Path, changed: int) -> Config:
    """`_what` a file asks for."""
    found = parse_yaml(path.read_bytes())
    if not isinstance(found, dict):
        raise ValueError(f"{path}: no config")
    found["tracking"] = {"name": TrackingName.none}
    return _what(typed(recorded(found)))


def _what(config: Config) -> Config:
    """A config without what does not decide which cell it is."""
    hardware = replace(
        config.hardware, device="", capture=True, recompute="auto", max_batch=1, checkpoint=0.0
    )
    tracking = TrackingConfig(name=TrackingName.none)
    return replace(
        config,
        tracking=tracking,
        hardware=hardware,
        canvas_format=CanvasFormat.png,
        outputs="",
        resume=True,
        plan=False,
    )


def _holds_inputs(folder: Path, job: Job) -> str | None:
    """Whether a job reads a file that lies in the folder."""
    for path in job.inputs():
        if path.is_relative_to(folder.resolve()):
            return f"holds {path.name}, which is to be read"
    return None


def _beside(named: Path, number: int) -> Path:
    if not number:
        return named
    whole = Path(os.path.normpath(named)) if named.name not in ("", "..") else named.resolve()
    if not whole.name:
        raise NstError(f"{named}: no folder can be made beside it; give another")
    return whole.with_name(f"{whole.name}-{number}")
