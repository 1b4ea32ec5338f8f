"""Cells that Optuna asks for, some at a time, painted together."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from nst.errors import NstError
from nst.execution.composing import NUMBERED, Composer
from nst.execution.device import device_of
from nst.execution.grid_sweep import subdir_of, title_of
from nst.execution.output_dir import SEARCH, conflict_in
from nst.execution.resolve import identity_of
from nst.execution.sweep_runner import SweepCell, dir_override
from nst.execution.sweep_values import parse_swept, values_of
from nst.io.weights import load_scorer
from nst.report.pareto import draw_pareto_front
from nst.runs.job import Job
from nst.runs.search import Goal, Search, choice, integers, interval
from nst.runs.sweep import open_sweep


class SearchSweep:
    """Asks, paints, asks again; the same command in the same folder goes on where it was.

    Args:
        loader: of the configs.
        master: the config that Hydra gives a sweeper, with the settings of the search in it.
        composer: of the cells.
        arguments: of the command line.

    Raises:
        NstError: what is wrong with the search.
    """

    def __init__(
        self, loader: ConfigLoader, master: DictConfig, composer: Composer, arguments: Sequence[str]
    ) -> None:
        settings = master.hydra.sweeper
        self.trials, self.at_once = settings.trials, settings.at_once
        for key, value in (("trials", self.trials), ("at_once", self.at_once)):
            if value < 1:
                raise NstError(f"hydra.sweeper.{key}={value}: must be at least 1; give a larger number")
        if subdir_of(master) != NUMBERED:
            named = subdir_of(master)
            raise NstError(f"hydra.sweep.subdir={named}: a search numbers its cells; leave it out")
        self.composer, self.title = composer, title_of(master)
        name = master.hydra.runtime.choices.get("hparams_search")
        self.name = f"search/{name}" if name else None
        given = parse_swept(settings.params, arguments, loader)
        swept = [part for part in given if part.is_sweep_override()]
        if not swept:
            raise NstError(
                "hydra.sweeper.params={}: nothing to search over; give a range, as in "
                "weights.style='interval(1e2,1e5)'"
            )
        space = {
            part.get_key_element(): distribution(part, loader.get_group_options(part.key_or_group))
            for part in swept
        }
        self.fixed = [str(part.input_line) for part in given if part not in swept]
        goal = Goal(tuple(settings.objectives), tuple(settings.weights) if settings.weights else None)
        if goal.scored:
            load_scorer(device_of(self._cell(self.fixed).job.config))  # or say why canvases cannot be scored
        ends = [[f"{key}={_end(value, end)}" for key, value in space.items()] for end in (0, -1)]
        self.jobs: list[Job] = [self._cell([*self.fixed, *end]).job for end in ends]
        identities = [identity_of(job.config) for job in self.jobs]
        self._search_in = partial(Search, space=space, goal=goal, seed=settings.seed, ends=identities)

    def conflict(self, folder: Path) -> str | None:
        try:
            search = self._search_in(folder)
        except NstError:
            return "holds another search"
        cells = {Path(str(number)): self._asked(search, number).job for number in range(len(search.asked))}
        return conflict_in(folder, cells, SEARCH)

    def show_plan(self, folder: Path, workers: int) -> None:
        asked = len(self._search_in(folder).asked)
        print(f"{folder}: {asked} of {self.trials} trials, {self.at_once} at a time")

    def open(self, folder: Path) -> None:
        self._open(self._search_in(folder))

    def batches(self, folder: Path) -> Iterator[list[SweepCell]]:
        search = self._search_in(folder)
        while numbers := self._next(search):
            self._open(search)
            yield [self._asked(search, number) for number in numbers]
            draw_pareto_front(search, self.title or "search")

    def _open(self, search: Search) -> None:
        cells = len(search.asked)
        open_sweep(search.folder, self.name, self.title, cells=cells, per_row=self.at_once)

    def _next(self, search: Search) -> list[int]:
        """The trials to paint together next: those that were asked for and interrupted, then new ones."""
        left = [trial.number for trial in search.trials() if trial.state is TrialState.RUNNING]
        new = min(self.at_once - len(left), self.trials - len(search.asked))
        return [*left, *search.ask(new)] if new > 0 else left

    def _asked(self, search: Search, number: int) -> SweepCell:
        params = [f"{key}={value}" for key, value in search.asked[number].items()]
        place = [dir_override(search.folder), f"hydra.sweep.subdir='{number}'"]
        return self._cell([*self.fixed, *params, *place], number)

    def _cell(self, overrides: list[str], number: int = 0) -> SweepCell:
        return SweepCell.of(number, overrides, self.composer)


def distribution(part: Override, options: Sequence[str] = ()) -> BaseDistribution:
    """What Optuna draws from; raises NstError where that is nothing."""
    value: Any = part.value()
    log = "log" in getattr(value, "tags", ())
    try:
        if isinstance(value, IntervalSweep):
            return interval(float(value.start or 0), float(value.end or 0), log)
        values = values_of(part, options)
        if isinstance(value, RangeSweep) and isinstance(value.step, int):
            return integers(int(value.start or 0), int(value.stop or 0), value.step, log)
        return choice(values)
    except ValueError as error:
        raise NstError(
            f"{part.input_line}: {str(error).rstrip('.')}; give a range with a start below its end"
        ) from error


def _end(drawn: Any, end: int) -> Any:
    choices = getattr(drawn, "choices", None)
    return choices[end] if choices else (drawn.low, drawn.high)[end]
