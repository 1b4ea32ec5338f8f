"""A grid of cells, the cells of a study, or those of several presets or studies at once."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Glob, Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from nst.errors import NstError
from nst.execution.composing import NUMBERED, Composer
from nst.execution.console import show_plan
from nst.execution.output_dir import cells_in, conflict_in
from nst.execution.plan import plan
from nst.execution.runner import named_by_what_varies
from nst.execution.study_cells import StudyCells, study_cells, study_of
from nst.execution.sweep_runner import SweepCell, dir_override
from nst.execution.sweep_values import parse_swept, product, values_of
from nst.io.locks import lock_dir
from nst.runs.job import Job
from nst.runs.sweep import open_sweep

GROUPS = ("experiment", "study")  # whose options are sweeps


@dataclass(frozen=True)
class _Grid:
    """The sweep of one preset: its folder, what it is called, and the overrides of its cells."""

    folder: Path
    preset: str | None
    title: str | None
    cells: list[list[str]]
    study: StudyCells | None = None


class GridSweep:
    """The product of all that is swept over; of presets the sum; of a study conditions by repetitions.

    `experiment=a,b` and `experiment=glob(readme/*)` sweep each preset as it says itself, with what else
    the command line says. Each of them has its own folder, sheet and parent run in that of the whole. So do
    `study=a,b` and `study=glob(*)`.

    Args:
        loader: of the configs.
        master: the config that Hydra gives a sweeper.
        composer: of the cells.
        arguments: of the command line.
        at_a_time: how many cells the launcher is to have; None for all at once.

    Raises:
        NstError: what is wrong with any of the configs.
    """

    def __init__(
        self,
        loader: ConfigLoader,
        master: DictConfig,
        composer: Composer,
        arguments: Sequence[str],
        at_a_time: int | None,
    ) -> None:
        if at_a_time is not None and at_a_time < 1:
            raise NstError(
                f"hydra.sweeper.max_batch_size={at_a_time}: must be at least 1, or null for all at once"
            )
        self.loader, self.master, self.composer = loader, master, composer
        self.arguments, self.at_a_time = arguments, at_a_time
        self.given = parse_swept(None, arguments, loader)
        several = [part for part in self.given if part.key_or_group in GROUPS and part.is_sweep_override()]
        if len(several) > 1:
            raise NstError(
                f"{several[0].input_line} {several[1].input_line}: give several of one of them only"
            )
        self.presets = several[0] if several else None
        self._compose_in(Path(master.hydra.sweep.dir), [])

    @property
    def jobs(self) -> list[Job]:
        """All cells."""
        return [cell.job for cell in self.cells]

    def conflict(self, folder: Path) -> str | None:
        return conflict_in(folder, self.places)

    def show_plan(self, folder: Path, workers: int) -> None:
        self._move(folder)
        show_plan(plan(named_by_what_varies(self.jobs), workers))

    def open(self, folder: Path) -> None:
        self._move(folder)
        for grid in self.grids:
            if not lock_dir(grid.folder):
                raise NstError(f"{grid.folder}: another process paints in it; give another hydra.sweep.dir")
        places = iter(self.places)
        for grid in self.grids:
            names = [next(places).name for _ in grid.cells]
            numbered = names == [str(number) for number in range(len(names))]
            named: dict[str, Any] = {} if numbered else {"folders": names}
            named |= {"swept": self.swept} if grid.preset is None else {}
            open_sweep(grid.folder, grid.preset, grid.title, cells=len(names), **named)
            if grid.study is not None:
                grid.study.record.write(grid.folder)
        if self.presets is not None:
            names = [grid.folder.relative_to(folder).as_posix() for grid in self.grids]
            open_sweep(folder, self.presets.get_value_string(), None, grids=names)

    def batches(self, folder: Path) -> Iterator[list[SweepCell]]:
        step = self.at_a_time or len(self.cells)
        for start in range(0, len(self.cells), step):
            yield self.cells[start : start + step]

    def _move(self, folder: Path) -> None:
        if folder != self.folder:
            self._compose_in(folder, [dir_override(folder)])

    def _compose_in(self, folder: Path, elsewhere: list[str]) -> None:
        """Compose and check all cells, to be painted in a folder.

        Args:
            folder: of the whole sweep.
            elsewhere: an override that names it, where it is not the configured one.
        """
        self.folder, self.grids = folder, self._grids(folder, elsewhere)
        every = [overrides for grid in self.grids for overrides in grid.cells]
        self.cells = [
            SweepCell.of(number, overrides, self.composer) for number, overrides in enumerate(every)
        ]
        self.places = cells_in(folder, self.jobs, [cell.path for cell in self.cells])
        jobs = iter(self.jobs)
        for grid in self.grids:
            own = list(itertools.islice(jobs, len(grid.cells)))
            if grid.study is not None:
                grid.study.check(own)

    def _grids(self, folder: Path, elsewhere: list[str]) -> list[_Grid]:
        """What to sweep over: what the command line and the preset say, or each of several presets."""
        if self.presets is None:
            if (whole := study_of(self.master)) is not None:
                name = self.master.hydra.runtime.choices.get("study") or "study"
                alone = study_cells(whole, name, self.arguments, self.loader)
                cells = [[*cell, *elsewhere] for cell in alone.overrides]
                return [_Grid(folder, f"study/{name}", whole.claim, cells, alone)]
            parsed = parse_swept(self.master.hydra.sweeper.params, self.arguments, self.loader)
            cells = product(parsed, self.loader)
            self.swept = [part.get_key_element() for part in parsed if part.is_sweep_override()]
            name, title = self.master.hydra.runtime.choices.get("experiment"), title_of(self.master)
            return [_Grid(folder, name, title, [[*cell, *elsewhere] for cell in cells])]
        group = self.presets.key_or_group
        rest = [str(part.input_line) for part in self.given if part is not self.presets]
        numbered = subdir_of(self.master) == NUMBERED
        grids = []
        for preset, config in self._configs(self.presets, rest):
            inside, arguments = folder / preset, [f"{group}={preset}", *rest]
            study = study_of(config)
            made = study_cells(study, preset, arguments, self.loader) if study else None
            swept = parse_swept(config.hydra.sweeper.params, arguments, self.loader)
            every = made.overrides if made else product(swept, self.loader)
            cells = [[*cell, dir_override(inside)] for cell in every]
            if numbered:  # by Hydra, through all presets
                cells = [[*cell, f"hydra.sweep.subdir='{number}'"] for number, cell in enumerate(cells)]
            name, title = (f"study/{preset}", study.claim) if study else (preset, title_of(config))
            grids.append(_Grid(inside, name, title, cells, made))
        return grids

    def _configs(self, swept: Override, rest: list[str]) -> list[tuple[str, DictConfig]]:
        """The presets of `experiment=...` with their configs: in the order given, or their own in a glob."""
        value: Any = swept.value()
        group = swept.key_or_group
        names = dict.fromkeys(values_of(swept, list(self._options(group))))
        presets = [(name, self._load([*rest, f"{group}={name}"])) for name in names]
        if isinstance(value, Glob):
            presets.sort(key=lambda preset: _order(preset[1], group))
        return presets

    def _options(self, group: str) -> Iterator[str]:
        """The options of a group and of the groups in it, which Hydra's own glob does not look into."""
        for name in self.loader.get_group_options(group):
            yield f"{group}/{name}".partition("/")[2]
        for name in self.loader.list_groups(group):
            yield from self._options(f"{group}/{name}")

    def _load(self, overrides: Sequence[str]) -> DictConfig:
        known: Any = OmegaConf.to_container(self.master.hydra.overrides.hydra)  # unresolved, as it was given
        name = self.master.hydra.job.config_name
        return self.loader.load_configuration(name, [*known, *overrides], RunMode.MULTIRUN)


def subdir_of(config: DictConfig) -> str:
    """What the folders of cells are called, as it is written."""
    written: Any = OmegaConf.to_container(config.hydra.sweep)
    return str(written["subdir"])


def title_of(config: DictConfig) -> str | None:
    """What a preset says that its sweep shows."""
    title = config.hydra.callbacks.sweep.title
    return None if title is None else str(title)


def _order(config: DictConfig, group: str) -> tuple[float, str]:
    order = config.hydra.callbacks.sweep.order
    return math.inf if order is None else order, config.hydra.runtime.choices[group]
