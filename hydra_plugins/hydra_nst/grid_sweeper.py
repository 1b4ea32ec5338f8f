"""`hydra/sweeper=presets`: a grid, or several presets' grids at once, checked before any is painted."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.hydra_nst.composing import Composer
from hydra_plugins.hydra_nst.launcher import BatchedLauncher
from nst.errors import NstError

GROUP = "experiment"


@dataclass
class PresetSweeperConf:
    """Its settings: those of Hydra's own sweeper."""

    _target_: str = "hydra_plugins.hydra_nst.grid_sweeper.PresetSweeper"
    max_batch_size: int | None = None  # jobs for the launcher at a time
    params: dict[str, str] | None = None  # what a preset sweeps over, as on the command line


ConfigStore.instance().store(group="hydra/sweeper", name="presets", node=PresetSweeperConf, provider="nst")


@dataclass(frozen=True)
class _Grid:
    """One sweep of the sweep: its folder, what it is called, and the overrides of its jobs."""

    folder: Path
    preset: str | None
    title: str | None
    jobs: list[list[str]]


@dataclass(frozen=True)
class _Asked:
    """All that a sweep is to paint: its grids, and of all their cells the overrides and the jobs."""

    grids: list[_Grid]
    overrides: list[list[str]]
    jobs: list[Any]  # of nst.runs.job.Job, which is not imported here, as below
    cells: dict[Path, Any]  # the same by their places in the sweep's folder
    compose: Composer


class PresetSweeper(Sweeper):
    """The product of all that is swept over, as Hydra's own sweeper makes it; of presets, the sum.

    `experiment=a,b` and `experiment=glob(readme/*)` sweep each preset as it says itself, with what else
    the command line says. Each of them has its own folder, sheet and parent run in that of the whole.
    """

    def __init__(self, max_batch_size: int | None, params: dict[str, str] | None) -> None:
        self.max_batch_size, self.params = max_batch_size, params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives a sweeper."""
        self.master, self.loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.parser = OverridesParser.create(config_loader=self.loader)

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Compose and check every job, then paint them all; with `plan=true`, only say what would be.

        Raises:
            NstError: what is wrong with any of the configs. No folder was made then.
        """
        # Here, because Hydra imports every plugin at every start, and these import torch.
        from nst.callback import abort_sweep
        from nst.execution.console import show_plan
        from nst.execution.output_dir import conflict_in, first_usable, lock_output_dir
        from nst.execution.plan import plan
        from nst.execution.runner import named_by_what_varies
        from nst.io.files import atomic_write
        from nst.io.locks import lock_dir
        from nst.runs.sweep import open_sweep
        from nst.tracking.background import tracker_of

        step = self.max_batch_size
        if step is not None and step < 1:
            raise NstError(
                f"hydra.sweeper.max_batch_size={step}: must be at least 1, or null for all at once"
            )
        named = Path(self.master.hydra.sweep.dir)
        asked = self._asked(arguments, named, [])
        batched = self.launcher if isinstance(self.launcher, BatchedLauncher) else None
        executor = batched.batch_executor if batched else None  # before any folder is made
        if executor:
            executor.check(asked.jobs)
        planned = any(job.config.plan for job in asked.jobs)

        cells = asked.cells

        def conflict(place: Path) -> str | None:
            return conflict_in(place, cells)

        folder = first_usable(named, conflict)[0] if planned else lock_output_dir(named, conflict)
        if folder != named:
            asked = self._asked(arguments, folder, [at(folder)])
        if planned:
            show_plan(plan(named_by_what_varies(asked.jobs), executor.workers if executor else 1))
            return []
        with open_dict(self.master):
            self.master.hydra.sweep.dir = str(folder)
        for grid in asked.grids:
            if not lock_dir(grid.folder):
                raise NstError(f"{grid.folder}: another process paints in it; give another hydra.sweep.dir")
        for grid in asked.grids:
            open_sweep(grid.folder, grid.preset, grid.title, cells=len(grid.jobs))
        if [grid.folder for grid in asked.grids] != [folder]:
            [presets] = [argument for argument in arguments if argument.startswith(f"{GROUP}=")]
            names = [grid.folder.relative_to(folder).as_posix() for grid in asked.grids]
            open_sweep(folder, presets.partition("=")[2], None, grids=names)
        with atomic_write(folder / "multirun.yaml") as temporary:
            OmegaConf.save(self.master, temporary)
        launcher = self.launcher
        assert launcher is not None
        if batched:
            batched.compose = asked.compose
        overrides = asked.overrides
        step = step or len(overrides)
        starts = range(0, len(overrides), step)
        try:
            return [launcher.launch(overrides[start : start + step], start) for start in starts]
        except BaseException:
            abort_sweep(folder.resolve(), tracker_of(asked.jobs[0].config.tracking))
            raise

    def _asked(self, arguments: list[str], folder: Path, elsewhere: list[str]) -> _Asked:
        """What is asked for, composed and checked, to be painted in a folder.

        Args:
            arguments: of the command line.
            folder: of the whole sweep.
            elsewhere: an override that names it, where it is not the configured one.
        """
        from nst.execution.output_dir import cells_in
        from nst.execution.runner import job_of

        grids = self._grids(arguments, folder, elsewhere)
        overrides = [job for grid in grids for job in grid.jobs]
        compose = Composer(self.loader, self.master)
        composed = [parts(compose(job, number)) for number, job in enumerate(overrides)]
        jobs = [job_of(*job) for job in composed]
        return _Asked(
            grids, overrides, jobs, cells_in(folder, jobs, [path for *_, path in composed]), compose
        )

    def _grids(self, arguments: list[str], folder: Path, elsewhere: list[str]) -> list[_Grid]:
        """What to sweep over: what the command line and the preset say, or each of several presets."""
        given = self.parser.parse_overrides(arguments)
        swept = next(
            (part for part in given if part.key_or_group == GROUP and part.is_sweep_override()), None
        )
        if swept is None:
            jobs = [[*job, *elsewhere] for job in self._product(self.params, arguments)]
            return [_Grid(folder, self.master.hydra.runtime.choices.get(GROUP), _title(self.master), jobs)]
        rest = [str(part.input_line) for part in given if part is not swept]
        grids = []
        for preset, config in self._presets(swept, rest):
            inside = folder / preset
            jobs = self._product(config.hydra.sweeper.params, [f"{GROUP}={preset}", *rest])
            jobs = [[*job, at(inside), f"hydra.sweep.subdir='{number}'"] for number, job in enumerate(jobs)]
            grids.append(_Grid(inside, preset, _title(config), jobs))
        return grids

    def _presets(self, swept: Override, rest: list[str]) -> list[tuple[str, DictConfig]]:
        """The presets of `experiment=...` with their configs: in the order given, or their own in a glob."""
        value: Any = swept.value()
        names = values_of(swept, list(self._options(GROUP)))
        presets = [(name, self._load([*rest, f"{GROUP}={name}"])) for name in names]
        if isinstance(value, Glob):
            presets.sort(key=lambda preset: _order(preset[1]))
        return presets

    def _options(self, group: str) -> Iterator[str]:
        """The options of a group and of the groups in it, which Hydra's own glob does not look into."""
        for name in self.loader.get_group_options(group):
            yield f"{group}/{name}".removeprefix(f"{GROUP}/")
        for name in self.loader.list_groups(group):
            yield from self._options(f"{group}/{name}")

    def _load(self, overrides: Sequence[str]) -> DictConfig:
        known = list(self.master.hydra.overrides.hydra)
        name = self.master.hydra.job.config_name
        return self.loader.load_configuration(name, [*known, *overrides], RunMode.MULTIRUN)

    def _product(self, params: Mapping[str, str] | None, arguments: Sequence[str]) -> list[list[str]]:
        """The overrides of each job; what the command line says of a key goes before a preset's."""
        said = [f"{key}={value}" for key, value in (params or {}).items()]
        parsed = self.parser.parse_overrides([*said, *arguments])
        for part in parsed:
            if part.is_discrete_sweep():
                values_of(part, self.loader.get_group_options(part.key_or_group))
        return BasicSweeper.split_arguments(parsed, None)[0]


def values_of(swept: Override, options: list[str]) -> list[str]:
    """What a key is swept over, each once.

    Args:
        swept: a list, a range, or a glob.
        options: of its group; none where it is a value.

    Raises:
        NstError: that is nothing.
    """
    value: Any = swept.value()
    is_glob = isinstance(value, Glob)
    names = value.filter(options) if is_glob else list(dict.fromkeys(swept.sweep_string_iterator()))
    if names:
        return names
    line = swept.input_line
    if is_glob and options:
        raise NstError(f"{line}: no option has such a name; allowed are {', '.join(options)}")
    if is_glob:
        raise NstError(f"{line}: glob finds options of a group, and this is a value; give values, as in A,B")
    raise NstError(f"{line}: nothing to sweep over; give values, as in A,B or range(1,4)")


def parts(config: DictConfig) -> tuple[DictConfig, DictConfig, Path]:
    """A composed config as job and `hydra`, and the run directory."""
    hydra = config.hydra
    job = copy.deepcopy(config)
    with open_dict(job):
        del job["hydra"]
    return job, hydra, Path(hydra.sweep.dir) / str(hydra.sweep.subdir)


def _order(config: DictConfig) -> tuple[float, str]:
    order = config.hydra.callbacks.sweep.order
    return math.inf if order is None else order, config.hydra.runtime.choices[GROUP]


def _title(config: DictConfig) -> str | None:
    title = config.hydra.callbacks.sweep.title
    return None if title is None else str(title)


def at(folder: Path) -> str:
    """The override that puts a sweep into a folder."""
    escaped = str(folder).replace("'", "\\'")
    return f"hydra.sweep.dir='{escaped}'"
