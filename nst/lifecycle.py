"""Before a run or a sweep it is checked, and has its folder; at a sweep's end its sheets are drawn."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Glob
from omegaconf import DictConfig, OmegaConf, open_dict

from nst.cli import bypass_hydra, describe_error
from nst.execution.console_handler import console
from nst.execution.hydra_settings import check_output_subdir
from nst.execution.output_dir import conflict_in, leave_config_alone, lock_output_dir
from nst.execution.runner import job_of
from nst.execution.sweep_runner import dir_override, end_sweep
from nst.execution.sweep_values import parse_swept
from nst.io.garbage import imported
from nst.io.text import escape_unprintable
from nst.report.outputs_index import refresh_index
from nst.runs.sweep import open_sweep
from nst.tracking.background import tracker_of, tracking_of

log = logging.getLogger(__name__)

GROUPS = ("hparams_search", "experiment")  # whose options may be sweeps


def begin_run(config: DictConfig) -> None:
    """Check that a run can be tracked, and give it a folder that is new, empty or its own."""
    imported()
    bypass_hydra(_lock_run_dir)(config)


def begin_multirun(config: DictConfig, title: str | None) -> None:
    """Check that runs can be tracked, and open the sweep for a sweeper that does not itself.

    Raises:
        SystemExit: 2, if tracking is misconfigured, or the folder cannot be made.
    """
    imported()
    with _exit_on_error(2):
        check_output_subdir(config.hydra)
        tracker = tracker_of(tracking_of(config))
        if config.hydra.runtime.choices["hydra/sweeper"] not in ("presets", "search"):
            # Which cells there will be is not known yet, so none in the folder can be among them.
            named = Path(config.hydra.sweep.dir)
            _name(config, "sweep", lock_output_dir(named, lambda place: conflict_in(place, {})))
            open_sweep(_folder(config), config.hydra.runtime.choices.get("experiment"), title)
        if tracker and not config.plan:
            tracker.close(Path(config.outputs))


def end_multirun(config: DictConfig, began: float) -> None:
    """Draw the sheets, complete the parent runs, print a summary.

    Raises:
        SystemExit: 1, if a cell failed or a sheet could not be drawn.
    """
    if config.plan:
        return
    with _exit_on_error(1):
        failed = end_sweep(_folder(config), tracker_of(tracking_of(config)), began)
        refresh_index(Path(config.outputs))
    if failed:
        raise SystemExit(1)


def _unswept_preset(config: DictConfig) -> str | None:
    """What to say where a preset that is a sweep is painted without -m: as one cell, of the defaults."""
    hydra, choices = config.hydra, config.hydra.runtime.choices
    # As they were written: an interpolation may mean nothing here.
    written: Any = OmegaConf.to_container(hydra)
    params = parse_swept(written["sweeper"].get("params"), [])
    given = {part.get_key_element() for part in parse_swept(None, written["overrides"]["task"])}
    swept = [part for part in params if part.get_key_element() not in given]
    name = next((f"{key}={choices[key]}" for key in GROUPS if choices.get(key)), None)
    if not swept or name is None:
        return None
    if choices["hydra/sweeper"] == "search":
        cells = f"search of {hydra.sweeper.trials} cells"
    else:
        countable = [part for part in swept if not isinstance(part.value(), Glob)]
        values = [list(part.sweep_string_iterator()) for part in countable if part.is_discrete_sweep()]
        count = math.prod(map(len, values))
        cells = f"sweep of {count} cells" if countable == swept else "sweep"
    keys = ", ".join(part.get_key_element() for part in swept)
    return (
        f"{name}: a {cells}, over {keys}; without -m one cell of the defaults is painted, and "
        f"`python run.py -m {name}` paints all"
    )


@contextmanager
def _exit_on_error(code: int) -> Iterator[None]:
    """What goes wrong inside is told, and ends the process: Hydra would make a warning of it, and go on."""
    try:
        yield
    except Exception as error:
        console.print(
            f"error: {escape_unprintable(describe_error(error))}", style="red", soft_wrap=True, markup=False
        )
        raise SystemExit(code) from error


def _lock_run_dir(config: DictConfig) -> None:
    """Claim the folder of a single run that can be tracked."""
    tracker_of(tracking_of(config))
    if forgotten := _unswept_preset(config):
        log.warning("%s", forgotten)
    named = Path(config.hydra.run.dir)
    job = job_of(config, config.hydra, named)
    if not job.config.plan:
        folder = lock_output_dir(named, lambda place: conflict_in(place, {Path(): job}))
        leave_config_alone(folder)
        _name(config, "run", folder)


def _name(config: DictConfig, kind: str, folder: Path) -> None:
    """Let Hydra write there."""
    with open_dict(config):
        config.hydra[kind].dir = str(folder)
    # The jobs of a sweep are composed again from what was overridden.
    config.hydra.overrides.hydra.append(dir_override(folder, kind))


def _folder(config: DictConfig) -> Path:
    return Path(config.hydra.sweep.dir).resolve()
