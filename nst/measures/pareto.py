"""Two measures where one number cannot say it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nst.errors import NstError
from nst.measures.measure import Measure, measure, register
from nst.runs.reader import Run

if TYPE_CHECKING:
    from nst.config.schema import Config


def _parts(measures: Sequence[str]) -> list[Measure]:
    """The measures of these names; NstError where one has no better, or there are not two or more."""
    if isinstance(measures, str) or len(measures) < 2:
        raise NstError(
            f"measure=pareto: measures={measures}: needs two or more; give [lpips, style_distance]"
        )
    found = [measure(name) for name in measures]
    for part in found:
        if part.better is None or part.needs_other:
            why = "compares runs itself" if part.needs_other else "has no better"
            raise NstError(f"measure=pareto: {part.name} {why}; give one of a run, lower or higher")
    return found


def _all_can(config: "Config", other: "Config | None", measures: Sequence[str]) -> None:
    for part in _parts(measures):
        part.check(config, other)


@register(
    source="Pareto dominance; Zitzler et al., IEEE Trans. Evolutionary Computation 7, 2003, table I",
    better="higher",
    checks=[_all_can],
)
def pareto(run: Run, other: Run, *, measures: Sequence[str]) -> float:
    """Which canvas dominates: 1 if the run's does, -1 if the other's, 0 if neither does.

    A canvas dominates another where none of `measures` is worse, and one is better. The mean over pairs is
    the share of pairs in which one condition dominates, less that in which the other does.
    """
    ahead = behind = False
    for part in _parts(measures):
        mine, theirs = part.of(run), part.of(other)
        if part.better == "higher":
            mine, theirs = -mine, -theirs
        ahead, behind = ahead or mine < theirs, behind or mine > theirs
    return float(ahead and not behind) - float(behind and not ahead)
