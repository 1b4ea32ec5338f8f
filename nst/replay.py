"""A run painted again from what it left: its config, its images and its seed.

python -m nst.replay FOLDER       a run directory
python -m nst.replay RUN_ID       a run in MLflow
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml  # type: ignore[import-untyped]
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from nst.config.schema import Config, from_composed, recorded, register
from nst.core.color import StyleColors
from nst.errors import NstError
from nst.execution.batch import run_batch
from nst.execution.device import device_of
from nst.execution.progress import progress_display
from nst.execution.resolve import resolve
from nst.io.credentials import strip_command_line
from nst.io.text import escape_unprintable
from nst.runs.job import Job
from nst.runs.record import RunRecord, find_damage
from nst.tracking.logger import fetch_run

NEEDED = (".hydra/config.yaml", RunRecord.NAME)


def replay(run: Path, folder: Path) -> str:
    """Paint the run directory `run` again, into `folder`; says how the canvases compare.

    The images are the ones in `run`, as they were used; the originals may be gone. On CUDA, where the bits
    depend on the shape of the batch, as many rows are painted as were then.

    Args:
        run: the directory of a finished run.
        folder: a new or an empty one.

    Raises:
        NstError: `run` is no finished run, one of its files is damaged, `folder` has something in it, or this
            code and these weights would paint another canvas. Nothing was painted then.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NstError(f"{folder}: is not empty, and nothing is painted over; give another --into")
    record = _finished_record(run)
    composed, config = _config(run, record.model.name)
    identity = resolve(config).identity
    if identity != record.identity:
        raise NstError(
            f"{run}: would not be the same canvas (identity {identity[:12]}, it had "
            f"{record.identity[:12]}): the numerics or the weights have changed since; check out "
            f"{record.git or 'the commit it was painted with'}, with the same model.weights"
        )
    before = _pixels(run / "canvas.png")
    job = Job(config, folder, (f"replay of {record.name}",))
    with TemporaryDirectory() as others, progress_display(1) as display:
        rows = record.batch_cells if device_of(config).type == "cuda" else 1
        filling = [replace(job, folder=Path(others, str(row))) for row in range(1, rows)]
        result = run_batch([job, *filling], partial(display.update, job.name))[0]
    if result.error is not None:
        raise NstError(result.error)
    _leave_config(composed, folder)
    return _compared(before, _pixels(folder / "canvas.png"), record, RunRecord.read(folder))


def _finished_record(run: Path) -> RunRecord:
    """The record of a finished run whose files are as they were painted; raises NstError for any other."""
    missing = [name for name in NEEDED if not (run / name).is_file()]
    record = RunRecord.read(run)
    if missing or not record.takeable:
        lacks = f"it has no {', '.join(missing)}" if missing else "it is not finished"
        raise NstError(f"{run}: cannot be replayed, {lacks}; give a finished run")
    if wrong := find_damage(run, record):
        raise NstError(f"{wrong}; this run cannot be replayed, give another")
    return record


def _config(run: Path, network: str | None) -> tuple[DictConfig, Config]:
    """The run's config, composed and checked, with the images and the network that were really used."""
    register()
    path = run / ".hydra/config.yaml"
    # A run of an older version lacks keys that do not decide its canvas.
    since = {"outputs": "outputs", "resume": False, "plan": False}
    try:
        composed = recorded(since)
        composed.merge_with(OmegaConf.load(path))
        for kind in _kept(composed):
            composed.images[kind] = str(run.resolve() / f"{kind}.png")
        _use_own(composed, run)
        composed.model.name, composed.model.fallback = network, None
        config = from_composed(composed)
        if "style" in _kept(composed) and config.color.identity() == StyleColors.name:
            # What was kept has the colours already that it was given.
            composed.color = {"name": StyleColors.name}
            config = from_composed(composed)
        return composed, config
    except (NstError, OSError, ValueError, AssertionError, yaml.YAMLError, OmegaConfBaseException) as error:
        said = " ".join(str(error).split()) or "no config"
        raise NstError(
            f"{path}: not the config of a run ({escape_unprintable(said)}); give another run"
        ) from error


def _kept(composed: DictConfig) -> tuple[str, ...]:
    """The images that a run directory has as they were used; masks are of the originals, and go with them."""
    if composed.images.content_mask is not None:
        return ()
    return ("content",) if OmegaConf.is_list(composed.images.style) else ("content", "style")


def _use_own(composed: DictConfig, folder: Path) -> None:
    """Take from a run directory the initial image, where it was a file's, and the opacity of its canvas."""
    if composed.images.transparency != "white":
        composed.images.transparency = str(folder.resolve() / "canvas.png")
    if (folder / "init.png").is_file():
        composed.init_image.path = str(folder.resolve() / "init.png")


def _leave_config(composed: DictConfig, folder: Path) -> None:
    """Make `folder` a run directory that can be shown, tracked and replayed as any other."""
    for kind in _kept(composed):
        composed.images[kind] = str(folder.resolve() / f"{kind}.png")
    _use_own(composed, folder)
    (folder / ".hydra").mkdir()
    OmegaConf.save(composed, folder / ".hydra/config.yaml")
    OmegaConf.save([], folder / ".hydra/overrides.yaml")


def _pixels(path: Path) -> NDArray[np.int64]:
    """The levels of a picture, `[H, W, 3]`."""
    with Image.open(path) as picture:
        return np.asarray(picture, dtype=np.int64)


def _compared(before: NDArray[np.int64], now: NDArray[np.int64], then: RunRecord, record: RunRecord) -> str:
    """How two canvases compare, and what of their making differs where they do."""
    differences = np.abs(before - now).max(axis=2)
    if not differences.any():
        return "the same pixels"
    made = [_made_with(of) for of in (then, record)]
    other = [name for name in made[0] if made[0][name] != made[1][name]]
    why = " and ".join(f"{name} {made[0][name]} then, {made[1][name]} now" for name in other)
    return (
        f"{(differences > 0).mean():.1%} of the pixels differ, by at most {differences.max()} of 255 and "
        f"{differences.mean():.2g} on average; {why or 'made with the same versions on the same device'}"
    )


def _made_with(record: RunRecord) -> dict[str, object]:
    """What decides the rounding of a run's arithmetic."""
    return {
        "torch": record.versions.get("torch", "unknown"),
        "device": record.device or "unknown",
        "instructions": record.machine.instructions or "unknown",
        "threads": record.machine.threads or "unknown",
    }


@contextmanager
def _found(run: str, uri: str) -> Iterator[Path]:
    """The directory of a run, fetched from MLflow where `run` is no folder."""
    if Path(run).is_dir():
        yield Path(run)
        return
    with TemporaryDirectory() as temporary:
        fetch_run(run, uri, Path(temporary))
        yield Path(temporary)


def main() -> None:
    """Paint a run again."""
    try:
        strip_command_line()
    except NstError as error:
        sys.exit(f"error: {error}")
    parser = argparse.ArgumentParser(prog="python -m nst.replay", description=main.__doc__)
    parser.add_argument("run", help="a run directory, or the id of a run in MLflow")
    store = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    parser.add_argument(
        "--uri", default=store, help="the MLflow store; default: MLFLOW_TRACKING_URI or mlflow.db"
    )
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    parser.add_argument(
        "--into", type=Path, default=Path("outputs/replays") / now, help="default: %(default)s"
    )
    given = parser.parse_args()
    try:
        with _found(given.run, given.uri) as run:
            compared = replay(run, given.into)
    except (NstError, OSError) as error:
        print(f"error: {escape_unprintable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    print(f"folder  {given.into}\ncanvas  {compared}")


if __name__ == "__main__":
    main()
