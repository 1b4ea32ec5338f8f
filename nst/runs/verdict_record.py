"""`verdict.json`: what became of a study's claim."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nst.runs.json_record import (
    Record,
    RecordFile,
    as_count,
    as_flag,
    as_list,
    as_moment,
    as_number,
    as_record,
    as_table,
    as_text,
    json_key,
    require,
)

VERDICTS = ("supported", "refuted", "open")


def _verdict(value: Any) -> str:
    require(value in VERDICTS)
    return str(value)


def _records(kind: type[Record]) -> Any:
    parse = as_record(kind)
    return lambda value: [parse(item) for item in as_list(value)]


def _numbers(value: Any) -> dict[str, float]:
    return {as_text(name): as_number(number) for name, number in as_table(value).items()}


@dataclass(frozen=True, kw_only=True)
class PairRecord(Record):
    """A pair by name: what each condition measured, the effect, and the folder of one run of each."""

    name: str = json_key(as_text, "")
    values: Mapping[str, float] = json_key(_numbers, dict)
    effect: float = json_key(as_number, 0.0)
    runs: Mapping[str, str] = json_key(as_table, dict)


@dataclass(frozen=True, kw_only=True)
class EffectRecord(Record):
    """What one measure says.

    Attributes:
        measure, unit: its name.
        effect, low, high: the mean over pairs, and its interval of 95%: a difference, or a ratio.
        support, refute: p-values of the claim and of its contrary, of both sides.
        lies: 1 where the interval lies as the claim says, -1 where it lies as its contrary says, else 0.
        agree: in how many pairs the effect is as the claim says.
        pairs: those that could be measured, the one that shows the claim best first.
    """

    measure: str = json_key(as_text, "")
    unit: str = json_key(as_text, "")
    effect: float | None = json_key(as_number)
    low: float | None = json_key(as_number)
    high: float | None = json_key(as_number)
    support: float = json_key(as_number, 1.0)
    refute: float = json_key(as_number, 1.0)
    lies: int = json_key(lambda value: int(as_number(value)), 0)
    agree: int = json_key(as_count, 0)
    needed: int | None = json_key(as_count)
    pairs: list[PairRecord] = json_key(_records(PairRecord), list)

    def text(self, by: str) -> str:
        """The effect with its interval, and how many pairs agree."""
        count = f"{len(self.pairs)} pair{'' if len(self.pairs) == 1 else 's'}"
        if self.effect is None:
            return f"{self.measure}: nothing to judge"
        sign, unit = ("×", "") if by == "ratio" else ("", self.unit and f" {self.unit}")
        interval = "" if self.low is None else f" [{self.low:.3g}, {self.high:.3g}]"
        return f"{self.measure} {sign}{self.effect:.3g}{interval}{unit}, {self.agree} of {count} agree"


@dataclass(frozen=True, kw_only=True)
class VerdictRecord(RecordFile):
    """`verdict.json` of a study's folder.

    Attributes:
        study, claim, source: as in `study.json`.
        verdict: supported, refuted or open.
        partial: whether cells are missing.
        cells, finished: how many there are to be, and are.
        left_out: why pairs are not counted, a line each.
        doubts: why canvases that are counted may not show what was asked, a line each.
        p: the p-value that decided; corrected for the number of studies judged together, `family`.
        more: of an open one, how many more pairs it would take; None where that cannot be told.
        by, kind, sides, margin: as in `study.json`.
        effects: of each measure.
    """

    NAME = "verdict.json"
    NEEDED = ("study", "verdict")

    study: str = json_key(as_text, "")
    claim: str = json_key(as_text, "")
    source: str = json_key(as_text, "")
    verdict: str = json_key(_verdict, "")
    partial: bool = json_key(as_flag, False)
    cells: int = json_key(as_count, 0)
    finished: int = json_key(as_count, 0)
    left_out: list[str] = json_key(lambda value: [as_text(line) for line in as_list(value)], list)
    doubts: list[str] = json_key(lambda value: [as_text(line) for line in as_list(value)], list)
    p: float = json_key(as_number, 1.0)
    family: int = json_key(as_count, 1)
    more: int | None = json_key(as_count)
    by: str = json_key(as_text, "difference")
    kind: str = json_key(as_text, "lower")
    sides: list[list[str]] = json_key(as_list, list)
    margin: float | None = json_key(as_number)
    effects: list[EffectRecord] = json_key(_records(EffectRecord), list)
    judged: str = json_key(as_moment, "")

    @property
    def text(self) -> str:
        """The verdict with its effects, the p-value, and what is to be known of it, in a line."""
        word = f"{self.verdict}, partial" if self.partial else self.verdict
        family = f" (of {self.family} studies, by Holm)" if self.family > 1 else ""
        parts = [*(effect.text(self.by) for effect in self.effects), f"p = {self.p:.2g}{family}"]
        if self.partial:
            parts.append(f"{self.finished} of {self.cells} cells")
        if self.verdict == "open":
            parts.append(
                f"about {self.more} more pairs would tell" if self.more else "more pairs may not tell"
            )
        return f"{word} · {'; '.join([*parts, *self.doubts])}"
