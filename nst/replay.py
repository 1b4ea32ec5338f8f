"""A run painted again from what it left: its config, its images and its seed; as it was, or changed.

python -m nst.replay FOLDER                   a run directory
python -m nst.replay RUN_ID                   a run in MLflow
python -m nst.replay FOLDER size=1024         the same picture, larger: it begins from the run's canvas
python -m nst.replay FOLDER optimizer=adam    changed: it begins anew, unless from=canvas is said
"""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]
from hydra.errors import HydraException
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from nst.cli import check_overrides, describe_error
from nst.config.composed import from_composed, recorded
from nst.config.overrides import override
from nst.config.schema import Config, Precision, register
from nst.core.color import StyleColors, levels
from nst.core.init_images import File
from nst.errors import NstError
from nst.execution.batch import run_batch
from nst.execution.console import show_plan
from nst.execution.console_handler import ConsoleHandler
from nst.execution.device import device_of
from nst.execution.output_dir import FRAMES, conflict_in, leave_config_alone, lock_output_dir
from nst.execution.plan import plan
from nst.execution.progress import progress_display
from nst.execution.resolve import read_content, read_styles, resolve, style_size
from nst.execution.runner import paint_job
from nst.io.credentials import strip_command_line
from nst.io.fit import Fit
from nst.io.images import image_shape, read, side_by_side
from nst.io.signals import Interrupted, install_handlers, raise_on_signal
from nst.io.text import escape_unprintable
from nst.runs.job import Job
from nst.runs.record import RunRecord, find_damage
from nst.tracking.artifacts import fetch_run

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
    composed = _recorded(run, record)
    config = _use_kept(composed, run)
    identity = resolve(config).identity
    if identity != record.identity:
        raise NstError(
            f"{run}: would not be the same canvas (identity {identity[:12]}, it had "
            f"{record.identity[:12]}): the numerics or the weights have changed since; check out "
            f"{record.git or 'the commit it was painted with'}, with the same model.weights"
        )
    before = _pixels(run / "canvas.png")
    job = Job(config, folder, (f"replay of {record.name}",))
    with TemporaryDirectory() as others, progress_display({job.name: 1.0}) as display:
        rows = record.batch_cells if device_of(config).type == "cuda" else 1
        filling = [replace(job, folder=Path(others, str(row))) for row in range(1, rows)]
        result = run_batch([job, *filling], partial(display.update, job.name))[0]
    if result.error is not None:
        raise NstError(result.error)
    _use_kept(composed, folder)
    _leave_config(composed, folder)
    return _compared(before, _pixels(folder / "canvas.png"), record, RunRecord.read(folder))


def change(run: Path, given: Sequence[str], named: Path) -> None:
    """Paint a run with other settings, as run.py paints: resumed, tracked, nothing twice.

    Images that were not changed are the originals where these are there and as they were, so that it can be
    painted larger; else those in `run`, if they have the size that is needed.

    Args:
        run: the directory of a finished run.
        given: overrides of its config. `from=canvas` lets it begin from the run's canvas, `from=start` as its
            config says; if neither is said, a larger `size` begins from the canvas.
        named: a folder that is new, empty, or of exactly this cell; any other gets a folder beside it.

    Raises:
        NstError, HydraException, OmegaConfBaseException: what is wrong with it, before anything is painted.
    """
    begins = [part.partition("=")[2] for part in given if part.startswith("from=")]
    overrides = [part for part in given if not part.startswith("from=")]
    if wrong := [begin for begin in begins if begin not in ("canvas", "start")]:
        raise NstError(f"from={wrong[0]}: allowed are canvas, start; give one of them")
    check_overrides(overrides, sweep=True)  # of several values there is more to say below
    keys = {part.lstrip("+~").partition("=")[0] for part in overrides}
    groups = {key.partition(".")[0] for key in keys}
    record = _finished_record(run)
    old = _recorded(run, record)
    old.resume, old.plan = True, False
    composed, before = override(old, overrides), from_composed(old)
    larger = from_composed(composed).size > before.size
    begin = begins[-1] if begins else "canvas" if larger and "init_image" not in groups else "start"
    own = {name: str(run.resolve() / name) for name in ("canvas.png", "init.png", "content.png", "style.png")}
    if begin == "canvas" and "init_image" in groups:
        raise NstError(f"from=canvas: init_image={composed.init_image.name} says otherwise; leave one out")
    if begin == "canvas":
        composed.init_image = {"name": File.name, "path": own["canvas.png"]}
        if "smallest" in composed.scales and not {"scales", "scales.smallest"} & keys:
            composed.scales.smallest = before.size  # from what there is
    elif "init_image" not in groups and (run / "init.png").is_file() and not larger:
        composed.init_image.path = own["init.png"]
    for kind in ("content", "style"):
        if not keys & {"images", f"images.{kind}"} and not _is_original(run, before, composed, kind):
            composed.images[kind] = own[f"{kind}.png"]
            if kind == "style":
                _use_colors(composed)
            elif composed.images.transparency != "white":
                composed.images.transparency = own["canvas.png"]
    job = Job(from_composed(composed), named.resolve(), tuple(given))
    resolve(job.config)  # what is wrong with it is said before there is a folder
    if job.config.plan:
        show_plan(plan([job]))
        return
    folder = lock_output_dir(named, lambda place: conflict_in(place, {Path(): job})).resolve()
    # What was taken from the run is then in the new folder, too, and the run may go.
    for kind in ("content", "style"):
        if composed.images[kind] == own[f"{kind}.png"]:
            composed.images[kind] = str(folder / f"{kind}.png")
    if begin == "canvas" or composed.init_image.get("path") == own["init.png"]:
        composed.init_image.path = str(folder / "init.png")
    _leave_config(composed, folder, overrides)
    paint_job(replace(job, folder=folder))


def _is_original(run: Path, before: Config, composed: DictConfig, kind: str) -> bool:
    """Whether the image that a run was painted with can be read again; else the one in `run` will do.

    Raises:
        NstError: neither is so.
    """
    wrong, config = "is not there any more", from_composed(composed)
    kept, content = (_read_whole(run / name) for name in (f"{kind}.png", "content.png"))
    try:
        if kind == "content":
            found = read_content(before)
        else:
            found = side_by_side([before.color.recolored(style, content) for style in read_styles(before)])
        if torch.equal(levels(found), levels(kept)):
            return True
        wrong = "is another picture than it was then"
    except NstError:
        pass
    if kind == "content":
        same_size = (before.size, before.images.fit) == (config.size, config.images.fit)
    else:
        same_size = style_size(before) == style_size(config) and before.color == config.color
    if same_size and kind in _kept(composed):
        return False
    raise NstError(
        f"images.{kind}={getattr(before.images, kind)}: {wrong}, and {kind}.png of the run will not do for "
        f"what is asked; give images.{kind}=FILE"
    )


def _read_whole(path: Path) -> torch.Tensor:
    return read(path, max(image_shape(path, path.stem)), path.stem, Fit.keep)


def _finished_record(run: Path) -> RunRecord:
    """The record of a finished run whose files are as they were painted; raises NstError for any other."""
    missing = [name for name in NEEDED if not (run / name).is_file()]
    record = RunRecord.read(run)
    if missing or not record.takeable:
        lacks = f"it has no {', '.join(missing)}" if missing else "it is not finished"
        raise NstError(f"{run}: cannot be replayed, {lacks}; give a finished run")
    if (run / FRAMES).is_dir():
        raise NstError(f"{run}: is a film; replay one of its frames, as in {run / FRAMES / '0000'}")
    if wrong := find_damage(run, record):
        raise NstError(f"{wrong}; this run cannot be replayed, give another")
    return record


def _recorded(run: Path, record: RunRecord) -> DictConfig:
    """The run's config, composed and checked, with the network and the precision that were really used."""
    register()
    path = run / ".hydra/config.yaml"
    # A run of an older version lacks keys that do not decide its canvas.
    since = {"outputs": "outputs", "resume": False, "plan": False}
    try:
        composed = recorded(since)
        composed.merge_with(OmegaConf.load(path))
        composed.model.name, composed.model.fallback = record.model.name, None
        if composed.hardware.precision is Precision.auto:
            composed.hardware.precision = record.precision
        from_composed(composed)
        return composed
    except (NstError, OSError, ValueError, AssertionError, yaml.YAMLError, OmegaConfBaseException) as error:
        said = " ".join(str(error).split()) or "no config"
        raise NstError(
            f"{path}: not the config of a run ({escape_unprintable(said)}); give another run"
        ) from error


def _use_kept(composed: DictConfig, folder: Path) -> Config:
    """Let a config name the images that its run directory has, as they were used; the checked config."""
    for kind in _kept(composed):
        composed.images[kind] = str(folder.resolve() / f"{kind}.png")
    _use_own(composed, folder)
    _use_colors(composed)
    return from_composed(composed)


def _use_colors(composed: DictConfig) -> None:
    """A style image that was kept has the colours already that it was given."""
    if "style" in _kept(composed) and from_composed(composed).color.identity() == StyleColors.name:
        composed.color = {"name": StyleColors.name}


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


def _leave_config(composed: DictConfig, folder: Path, overrides: Sequence[str] = ()) -> None:
    """Make `folder` a run directory that can be shown, tracked and replayed as any other."""
    leave_config_alone(folder)
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(composed, folder / ".hydra/config.yaml")
    OmegaConf.save(list(overrides), folder / ".hydra/overrides.yaml")


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
    """Paint a run again, as it was, or with other settings: KEY=VALUE and GROUP=OPTION as for run.py."""
    install_handlers()
    try:
        strip_command_line()
    except NstError as error:
        sys.exit(f"error: {error}")
    parser = argparse.ArgumentParser(prog="python -m nst.replay", description=main.__doc__)
    parser.add_argument("run", help="a run directory, or the id of a run in MLflow")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="what is to be other than it was; from=canvas begins from the run's canvas, from=start as the "
        "config says; default: canvas for a larger size, else start",
    )
    store = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    parser.add_argument(
        "--uri", default=store, help="the MLflow store; default: MLFLOW_TRACKING_URI or mlflow.db"
    )
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    parser.add_argument(
        "--into", type=Path, default=Path("outputs/replays") / now, help="default: %(default)s"
    )
    given = parser.parse_intermixed_args()
    try:
        with raise_on_signal(), _found(given.run, given.uri) as run:
            if given.overrides:
                logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[ConsoleHandler()])
                change(run, given.overrides, given.into)
                return
            compared = replay(run, given.into)
    except (NstError, OSError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {escape_unprintable(describe_error(error, given.overrides))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Interrupted as stop:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + stop.number)
    print(f"folder  {given.into}\ncanvas  {compared}")


if __name__ == "__main__":
    main()
