"""`hydra/sweeper=search`: cells that Optuna asks for, some at a time, each lot painted as a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.hydra_nst.composing import Composer
from hydra_plugins.hydra_nst.grid_sweeper import at, parts, values_of
from hydra_plugins.hydra_nst.launcher import BatchedLauncher
from nst.errors import NstError

if TYPE_CHECKING:
    from nst.runs.job import Job
    from nst.runs.search import Search


@dataclass
class SearchSweeperConf:
    """Its settings; `params` as on the command line, with interval(a,b) and tag(log, interval(a,b))."""

    _target_: str = "hydra_plugins.hydra_nst.search_sweeper.SearchSweeper"
    trials: int = 24
    at_once: int = 6
    objectives: list[str] = field(default_factory=lambda: ["lpips_content", "style_distance"])
    weights: list[float] | None = None  # of the objectives in one sum; none looks for their Pareto front
    seed: int = 0
    params: dict[str, str] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="search", node=SearchSweeperConf, provider="nst")


class SearchSweeper(Sweeper):
    """Asks, paints, asks again; the same command in the same folder goes on where it was."""

    def __init__(
        self,
        trials: int,
        at_once: int,
        objectives: Sequence[str],
        weights: Sequence[float] | None,
        seed: int,
        params: dict[str, str] | None,
    ) -> None:
        self.trials, self.at_once, self.seed, self.params = trials, at_once, seed, params
        self.objectives, self.weights = tuple(objectives), tuple(weights) if weights else None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives a sweeper."""
        self.master, self.loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.parser = OverridesParser.create(config_loader=self.loader)
        self.compose = Composer(self.loader, config)

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Search until there are as many trials as were asked for, and draw what was found.

        Raises:
            NstError: what is wrong with the search, before anything is painted.
        """
        from nst.callback import abort_sweep
        from nst.execution.output_dir import first_usable, lock_output_dir
        from nst.io.files import atomic_write
        from nst.report.pareto import draw_pareto_front
        from nst.runs.sweep import open_sweep
        from nst.tracking.background import tracker_of

        for key, value in (("trials", self.trials), ("at_once", self.at_once)):
            if value < 1:
                raise NstError(f"hydra.sweeper.{key}={value}: must be at least 1; give a larger number")
        search_in, fixed, ends = self._prepared(arguments)
        if isinstance(self.launcher, BatchedLauncher):
            self.launcher.batch_executor.check(ends)
        job = ends[0]

        def conflict(place: Path) -> str | None:
            return self._conflict(place, search_in, fixed)

        named = Path(self.master.hydra.sweep.dir)
        if job.config.plan:
            folder, _ = first_usable(named, conflict)
            asked = len(search_in(folder).asked)
            print(f"{folder}: {asked} of {self.trials} trials, {self.at_once} at a time")
            return []
        folder = lock_output_dir(named, conflict)
        search = search_in(folder)
        with open_dict(self.master):
            self.master.hydra.sweep.dir = str(folder)
        name = self.master.hydra.runtime.choices.get("hparams_search")

        def begun() -> None:
            preset = f"search/{name}" if name else None
            open_sweep(folder, preset, self._title(), cells=len(search.asked), per_row=self.at_once)

        begun()
        with atomic_write(folder / "multirun.yaml") as temporary:
            OmegaConf.save(self.master, temporary)
        returns = []
        try:
            while numbers := self._next(search):
                begun()
                jobs = [self._overrides(search, fixed, number) for number in numbers]
                assert self.launcher is not None
                returns.append(self.launcher.launch(jobs, numbers[0]))
                draw_pareto_front(search, self._title() or "search")
        except BaseException:
            abort_sweep(folder.resolve(), tracker_of(job.config.tracking))
            raise
        return returns

    def _conflict(self, place: Path, search_in: "Callable[[Path], Search]", fixed: list[str]) -> str | None:
        """Why this search may not be in a folder."""
        from nst.execution.output_dir import SEARCH, conflict_in

        try:
            search = search_in(place)
        except NstError:
            return "holds another search"
        numbers = range(len(search.asked))
        cells = {Path(str(number)): self._job(self._overrides(search, fixed, number)) for number in numbers}
        return conflict_in(place, cells, SEARCH)

    def _next(self, search: "Search") -> list[int]:
        """The trials to paint together next: those that were asked for and interrupted, then new ones."""
        from optuna.trial import TrialState

        left = [trial.number for trial in search.trials() if trial.state is TrialState.RUNNING]
        new = min(self.at_once - len(left), self.trials - len(search.asked))
        return [*left, *search.ask(new)] if new > 0 else left

    def _prepared(self, arguments: list[str]) -> "tuple[Callable[[Path], Search], list[str], list[Job]]":
        """The search in a folder, the overrides that all its cells have, and the cells at its ends."""
        from nst.execution.resolve import identity_of

        try:
            from nst.runs.search import Goal, Search
        except ModuleNotFoundError as error:
            raise NstError(
                f"hydra/sweeper=search: {error.name} is not installed; pip install '.[search]' installs it"
            ) from error
        said = [f"{key}={value}" for key, value in (self.params or {}).items()]
        given = {part.get_key_element(): part for part in self.parser.parse_overrides([*said, *arguments])}
        swept = {key: part for key, part in given.items() if part.is_sweep_override()}
        if not swept:
            raise NstError(
                "hydra.sweeper.params={}: nothing to search over; give a range, as in "
                "weights.style='interval(1e2,1e5)'"
            )
        for part in swept.values():
            if part.is_discrete_sweep():
                values_of(part, self.loader.get_group_options(part.key_or_group))
        space = {key: _distribution(key, part) for key, part in swept.items()}
        fixed = [str(part.input_line) for key, part in given.items() if key not in swept]
        goal = Goal(self.objectives, self.weights)
        if goal.scored:
            from nst.execution.device import device_of
            from nst.io.weights import load_scorer

            load_scorer(device_of(self._job(fixed).config))  # or say why canvases cannot be scored
        ends = [
            self._job([*fixed, *(f"{key}={_end(value, end)}" for key, value in space.items())])
            for end in (0, -1)
        ]
        identities = [identity_of(job.config) for job in ends]
        return partial(Search, space=space, goal=goal, seed=self.seed, ends=identities), fixed, ends

    def _job(self, overrides: list[str]) -> "Job":
        from nst.execution.runner import job_of

        return job_of(*parts(self.compose(overrides, 0)))

    def _overrides(self, search: "Search", fixed: list[str], number: int) -> list[str]:
        params = [f"{key}={value}" for key, value in search.asked[number].items()]
        return [*fixed, *params, at(search.folder), f"hydra.sweep.subdir='{number}'"]

    def _title(self) -> str | None:
        title = self.master.hydra.callbacks.sweep.title
        return None if title is None else str(title)


def _distribution(key: str, part: Override) -> Any:
    """What Optuna draws from."""
    from nst.runs.search import choice, integers, interval

    value: Any = part.value()
    log = "log" in getattr(value, "tags", ())
    try:
        if isinstance(value, IntervalSweep):
            return interval(float(value.start or 0), float(value.end or 0), log)
        if isinstance(value, RangeSweep) and isinstance(value.step, int):
            return integers(int(value.start or 0), int(value.stop or 0), value.step, log)
        return choice(list(part.sweep_string_iterator()))
    except ValueError as error:
        raise NstError(
            f"{part.input_line}: {str(error).rstrip('.')}; give a range with a start below its end"
        ) from error


def _end(distribution: Any, end: int) -> Any:
    choices = getattr(distribution, "choices", None)
    return choices[end] if choices else (distribution.low, distribution.high)[end]
