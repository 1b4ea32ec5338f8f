"""A run painted again from what it left: its config, its images and its seed.

python -m nst.replay FOLDER       a run directory
python -m nst.replay RUN_ID       a run in MLflow
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from nst.batch import run_batch
from nst.cells import describe
from nst.config import Config, from_composed, register
from nst.credentials import take_from_command_line
from nst.errors import NstError
from nst.files import read_json
from nst.progress import shown
from nst.sweep import Job
from nst.tracking import fetch_run

NEEDED = (".hydra/config.yaml", "content.png", "style.png", "canvas.png", "run.json")


def replay(run: Path, folder: Path) -> str:
    """Paint the run directory `run` again, into `folder`; says how the canvases compare.

    The images are the ones in `run`, as they were used; the originals may be gone.

    Raises:
        NstError: `run` is no finished run, or this code and these weights would paint another canvas.
    """
    record = read_json(run / "run.json")
    missing = [name for name in NEEDED if not (run / name).is_file()]
    if record.get("status") != "finished" or missing:
        lacks = f"it has no {', '.join(missing)}" if missing else "it is not finished"
        raise NstError(f"{run}: cannot be replayed, {lacks}; give a finished run")
    config = _config(run, record["model"]["name"])
    identity = describe(config).identity
    if identity != record["identity"]:
        raise NstError(
            f"{run}: would not be the same canvas (identity {identity[:12]}, it had "
            f"{record['identity'][:12]}): the numerics or the weights have changed since; check out "
            f"{record.get('git') or 'the commit it was painted with'}, with the same model.weights"
        )
    job = Job(config, folder, (f"replay of {record['name']}",))
    with shown([job], of=1) as watch:
        [result] = run_batch([job], watch)
    if result.error is not None:
        raise NstError(result.error)
    _leave_config(config, folder)
    return _compared(run / "canvas.png", folder / "canvas.png")


def _config(run: Path, network: str) -> Config:
    """The run's config, with the images and the network that were really used."""
    register()
    # A run of an older version lacks keys that do not decide its canvas.
    since = {"outputs": "outputs", "resume": False, "plan": False}
    composed = OmegaConf.merge(
        OmegaConf.structured(Config), since, OmegaConf.load(run / ".hydra/config.yaml")
    )
    assert isinstance(composed, DictConfig)
    for kind in ("content", "style"):
        composed.images[kind] = str(run.resolve() / f"{kind}.png")
    composed.model.name, composed.model.fallback = network, None
    return from_composed(composed)


def _leave_config(config: Config, folder: Path) -> None:
    """Make `folder` a run directory that can be shown, tracked and replayed as any other."""
    images = {kind: str(folder.resolve() / f"{kind}.png") for kind in ("content", "style")}
    composed = OmegaConf.merge(OmegaConf.structured(config), {"images": images})
    (folder / ".hydra").mkdir()
    OmegaConf.save(composed, folder / ".hydra/config.yaml")
    OmegaConf.save([], folder / ".hydra/overrides.yaml")


def _compared(before: Path, now: Path) -> str:
    pixels = [np.asarray(Image.open(path), dtype=int) for path in (before, now)]
    differences = np.abs(pixels[0] - pixels[1]).max(axis=2)
    if not differences.any():
        return "the same pixels"
    share = (differences > 0).mean()
    return f"{share:.1%} of the pixels differ, by at most {differences.max()} of 255"


@contextmanager
def _found(run: str, uri: str) -> Iterator[Path]:
    """The directory of a run, fetched from MLflow where `run` is no folder."""
    if Path(run).is_dir():
        yield Path(run)
        return
    with tempfile.TemporaryDirectory() as temporary:
        fetch_run(run, uri, Path(temporary))
        yield Path(temporary)


def main() -> None:
    """Paint a run again."""
    try:
        take_from_command_line()
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
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    print(f"folder  {given.into}\ncanvas  {compared}")


if __name__ == "__main__":
    main()
