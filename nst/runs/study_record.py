"""`study.json`: what a study claims, and which cell of its sweep stands for what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nst.runs.json_record import RecordFile, as_list, as_number, as_table, as_text, json_key, require


def _texts(value: Any) -> list[str]:
    return [as_text(part) for part in as_list(value)]


def _settings(value: Any) -> dict[str, list[str]]:
    return {as_text(name): _texts(given) for name, given in as_table(value).items()}


def _cells(value: Any) -> list[dict[str, Any]]:
    for cell in as_list(value):
        as_text(as_table(cell)["condition"])
        for key, given in as_table(cell["repetition"]).items():
            as_text(key), as_text(given)
    return list(value)


def _measures(value: Any) -> list[dict[str, Any]]:
    for measure in as_list(value):
        as_text(as_table(measure)["name"])
    return list(value)


def _kind(value: Any) -> str:
    require(value in ("lower", "alike", "apart"))
    return str(value)


@dataclass(frozen=True, kw_only=True)
class StudyRecord(RecordFile):
    """`study.json` of a sweep's folder.

    Attributes:
        name: of the study.
        claim, source: in words.
        conditions: by name, the overrides that only their cells have.
        measures: each a `name` and its arguments.
        by: difference or ratio.
        kind: of the expectation: `lower` (the first side measures less than the second), `alike`, `apart`.
        sides: the conditions of each of the two sides.
        margin: of `alike` and `apart`.
        cells: in the order of the sweep, each a `condition` and a `repetition`: what is repeated, by key.
    """

    NAME = "study.json"
    NEEDED = ("name", "claim", "cells")

    name: str = json_key(as_text, "")
    claim: str = json_key(as_text, "")
    source: str = json_key(as_text, "")
    conditions: Mapping[str, list[str]] = json_key(_settings, dict)
    measures: list[dict[str, Any]] = json_key(_measures, list)
    by: str = json_key(as_text, "difference")
    kind: str = json_key(_kind, "lower")
    sides: list[list[str]] = json_key(lambda value: [_texts(side) for side in as_list(value)], list)
    margin: float | None = json_key(as_number)
    cells: list[dict[str, Any]] = json_key(_cells, list)
