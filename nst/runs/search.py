"""A search: which cells to paint next, asked of Optuna, and all that is known of it in the sweep's folder.

`search.json` holds what was asked, `run.json` of each cell the result. The study is rebuilt from them
each time, so there is no store of its own that could be lost or disagree.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import TrialState, create_trial

from nst.errors import NstError
from nst.io.files import read_json, warn_skipped, write_json
from nst.runs.record import RunRecord, Status, find_damage

FILE = "search.json"
SCORES = ("lpips_content", "style_distance")
LOSSES = ("total", "content", "style", "tv")
DIGITS = 4  # of a number that is tried: more would only make names long
STATES = {
    Status.FINISHED: TrialState.COMPLETE,
    Status.FAILED: TrialState.FAIL,
    Status.DIVERGED: TrialState.FAIL,
}

Params = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """What is minimised: each of `objectives` for itself, or their sum with `weights`."""

    objectives: tuple[str, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        key, allowed = "hydra.sweeper.objectives", (*SCORES, *LOSSES)
        if not self.objectives:
            raise NstError(f"{key}=[]: give at least one of {', '.join(allowed)}")
        for name in self.objectives:
            if name not in allowed:
                raise NstError(f"{key}={name}: no such objective; allowed are {', '.join(allowed)}")
        if self.weights is not None and len(self.weights) != len(self.objectives):
            raise NstError(
                f"hydra.sweeper.weights={list(self.weights)}: give a weight for each of "
                f"{', '.join(self.objectives)}, or none for their Pareto front"
            )

    @property
    def scored(self) -> bool:
        """Whether it needs canvases to be scored."""
        return any(name in SCORES for name in self.objectives)

    @property
    def names(self) -> tuple[str, ...]:
        """What the values of a trial are called."""
        if self.weights is None:
            return self.objectives
        parts = zip(self.weights, self.objectives, strict=True)
        return (" + ".join(f"{weight:g} {name}" for weight, name in parts),)

    def values(self, record: RunRecord) -> list[float] | None:
        """The values of a finished cell; None if they are not known."""
        known = {**record.final, **record.scores}
        found = [known.get(name, math.nan) for name in self.objectives]
        if not all(map(math.isfinite, found)):
            return None
        if self.weights is None:
            return found
        return [sum(weight * value for weight, value in zip(self.weights, found, strict=True))]


@dataclass(frozen=True)
class Trial:
    """A cell of a search; `values` are None until it is finished, and if it failed."""

    number: int
    params: Params
    state: TrialState
    values: list[float] | None


class Search:
    """The search whose cells are in a folder.

    Args:
        folder: of the search, whether it was begun or not.
        space: what is searched over.
        goal: what is minimised.
        seed: of the sampler.
        ends: the identities of cells at the ends of the space, which stand for all that is not searched
            over; None of those that cannot be resolved.

    Raises:
        NstError: another search is in the folder.
    """

    def __init__(
        self,
        folder: Path,
        space: Mapping[str, BaseDistribution],
        goal: Goal,
        seed: int,
        ends: Sequence[str | None] = (),
    ) -> None:
        self.folder, self.space, self.goal, self.seed, self.ends = folder, dict(space), goal, seed, list(ends)
        known = self._known()
        self.asked: list[Params] = known.get("trials", [])
        self._whole = set[int]()  # trials whose files were read, and are as they were painted
        if known and known.get("identity") != self._told()["identity"]:
            raise NstError(f"{folder}: holds another search; give another hydra.sweep.dir")

    def _known(self) -> dict[str, Any]:
        """What is on disk of it; nothing, with a warning, if it is not to be relied on."""
        path = self.folder / FILE
        known = read_json(path)
        trials = known.get("trials", [])
        keys = self.space.keys()
        if known.get("space") == self._space() and not (
            isinstance(trials, list) and all(isinstance(t, dict) and t.keys() == keys for t in trials)
        ):
            warn_skipped(path, "what it has for trials is wrong")
            return {}
        return known

    def trials(self) -> list[Trial]:
        """The trials so far, with their results."""
        found = []
        for number, params in enumerate(self.asked):
            folder = self.folder / str(number)
            record = RunRecord.read(folder)
            state = STATES.get(record.status, TrialState.RUNNING)
            if state is TrialState.COMPLETE and number not in self._whole:
                if find_damage(folder, record):
                    state = TrialState.RUNNING  # it is painted again
                else:
                    self._whole.add(number)
            values = self.goal.values(record) if state is TrialState.COMPLETE else None
            if state is TrialState.COMPLETE and values is None:
                state = TrialState.FAIL
            found.append(Trial(number, params, state, values))
        return found

    def ask(self, count: int) -> list[int]:
        """Think of `count` more cells; returns their numbers. They are on disk when this returns."""
        study = self._study()
        first = len(self.asked)
        for _ in range(count):
            params = study.ask(self.space).params
            self.asked.append({key: _short(value, self.space[key]) for key, value in params.items()})
        write_json(self.folder / FILE, self._told())
        return list(range(first, len(self.asked)))

    def best(self) -> list[Trial]:
        """The trials on the Pareto front, by their first value; of one objective, the best."""
        known = {tuple(trial.values): trial for trial in reversed(self.trials()) if trial.values}
        front = [
            trial for values, trial in known.items() if not any(_dominates(other, values) for other in known)
        ]
        return sorted(front, key=lambda trial: trial.values or [])

    def _study(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        names = self.goal.names
        # Of the first half it knows nothing; then cells that are asked together keep apart.
        sampler = optuna.samplers.TPESampler(
            seed=self.seed + len(self.asked), n_startup_trials=10, constant_liar=True
        )
        study = optuna.create_study(directions=["minimize"] * len(names), sampler=sampler)
        for trial in self.trials():
            if trial.state is not TrialState.RUNNING:
                made = create_trial(
                    state=trial.state, params=trial.params, distributions=self.space, values=trial.values
                )
                study.add_trial(made)
        return study

    def _space(self) -> dict[str, Any]:
        return {key: json.loads(distribution_to_json(value)) for key, value in self.space.items()}

    def _told(self) -> dict[str, Any]:
        goal = list(self.goal.names)
        search = {"space": self._space(), "objectives": goal, "seed": self.seed, "ends": self.ends}
        identity = hashlib.sha256(json.dumps(search, sort_keys=True).encode()).hexdigest()
        return {**search, "identity": identity, "trials": self.asked}


def interval(low: float, high: float, log: bool) -> FloatDistribution:
    """Numbers between two."""
    return FloatDistribution(low, high, log=log)


def integers(start: int, stop: int, step: int, log: bool) -> IntDistribution:
    """Whole numbers as Python's `range` has them."""
    return IntDistribution(start, stop - 1, log=log, step=step)


def choice(values: Sequence[str]) -> CategoricalDistribution:
    """One of several, as on the command line."""
    return CategoricalDistribution(list(values))


def _short(value: Any, distribution: BaseDistribution) -> Any:
    if not isinstance(distribution, FloatDistribution):
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), distribution.low), distribution.high)


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)
