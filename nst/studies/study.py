"""A study as `conf/study/` says it: a claim, its conditions, what is repeated, what is measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from omegaconf import MISSING

from nst.errors import NstError

WAYS = ("difference", "ratio")


@dataclass
class Expectation:
    """What would support the claim: `lower` and `higher`, or `alike` or `apart` with a `margin`.

    Attributes:
        lower, higher: a condition each, or several, whose mean counts.
        alike, apart: two conditions whose effect lies within the margin, or beyond it.
        margin: of the effect: a difference above 0, or a ratio above 1.
    """

    lower: Any = None
    higher: Any = None
    alike: Any = None
    apart: Any = None
    margin: float | None = None


@dataclass
class Study:
    """`hydra.sweeper.study`; keys with values are written as on the command line.

    Attributes:
        claim: in words.
        source: who says so, and where.
        settings: what all cells have.
        conditions: what is compared: by name, the settings that only its cells have.
        repeat: each key with all its values: a list, or as on the command line, as in `range(4)`.
        measure: the name of a measure, or a mapping of `name` and its arguments, or a list of these, of
            which each has to support the claim.
        by: what the effect is: a difference, or a ratio.
    """

    claim: str = MISSING
    source: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    repeat: dict[str, Any] = field(default_factory=dict)
    measure: Any = MISSING
    by: str = "difference"
    expect: Expectation = field(default_factory=Expectation)


def expected(study: Study) -> tuple[str, list[str], list[str]]:
    """The kind of the expectation, and the conditions of its two sides, that of `lower` first.

    Raises:
        NstError: it is none, or names a condition that there is not.
    """
    expect = study.expect
    given = {key for key in ("lower", "higher", "alike", "apart") if getattr(expect, key) is not None}
    if given not in ({"lower", "higher"}, {"alike"}, {"apart"}):
        raise NstError(
            "study.expect: must have lower and higher, or alike, or apart; give conditions by name"
        )
    if given == {"lower", "higher"}:
        kind, sides = "lower", [_names(expect.lower), _names(expect.higher)]
        if set(sides[0]) & set(sides[1]):
            both = sorted(set(sides[0]) & set(sides[1]))[0]
            raise NstError(f"study.expect: {both} is both lower and higher; give it once")
    else:
        (kind,) = given
        sides = [[name] for name in _names(getattr(expect, kind))]
        least = 1 if study.by == "ratio" else 0
        if len(sides) != 2 or sides[0] == sides[1]:
            raise NstError(
                f"study.expect.{kind}={getattr(expect, kind)}: must be two conditions, as in [a, b]"
            )
        if expect.margin is None or not expect.margin > least:
            raise NstError(
                f"study.expect.margin={expect.margin}: must be above {least} with by={study.by}: the effect "
                "that would not matter"
            )
    for name in (name for side in sides for name in side):
        if name not in study.conditions:
            like = get_close_matches(name, study.conditions, n=1)
            meant = f"did you mean {like[0]}? " if like else ""
            allowed = ", ".join(study.conditions)
            raise NstError(f"study.expect: no condition is called {name}; {meant}allowed are {allowed}")
    if not all(sides):
        raise NstError("study.expect: a side has no condition; give one by name")
    return kind, sides[0], sides[1]


def measures_of(study: Study) -> list[dict[str, Any]]:
    """The measures, each as a mapping of its `name` and its arguments; raises NstError where it is none."""
    several = study.measure if isinstance(study.measure, list) else [study.measure]
    made = [dict(one) if isinstance(one, Mapping) else {"name": one} for one in several]
    if not made or not all(isinstance(one.get("name"), str) for one in made):
        raise NstError(f"study.measure={study.measure}: must be a name, or {{name: NAME, ARGUMENT: VALUE}}")
    return made


def check_study(study: Study) -> None:
    """Refuse a study that no cells can decide; raises NstError, one line."""
    if len(study.conditions) < 2:
        raise NstError(
            f"study.conditions: there are {len(study.conditions)}, and a claim compares; give two or more"
        )
    for name, settings in study.conditions.items():
        if not isinstance(settings, Mapping):
            raise NstError(f"study.conditions.{name}={settings}: must be keys with values, as in {{seed: 1}}")
    if study.by not in WAYS:
        raise NstError(f"study.by={study.by}: allowed are {', '.join(WAYS)}; give one of them")
    expected(study)
    measures_of(study)


def _names(value: Any) -> list[str]:
    return [str(name) for name in (value if isinstance(value, list) else [value])]
