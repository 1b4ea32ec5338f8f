"""The cells of a study: each condition over all that is repeated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from nst.errors import NstError
from nst.execution.resolve import identity_of
from nst.execution.sweep_values import parse_swept, product
from nst.measures import Measure, measure
from nst.runs.job import Job
from nst.runs.study_record import StudyRecord
from nst.studies.study import Study, check_study, expected, measures_of

ALONE = "hydra.sweeper.study=null"  # it is no cell's, and would be copied with each


@dataclass(frozen=True)
class StudyCells:
    """The overrides of each cell, repetition by repetition, and what they stand for."""

    overrides: list[list[str]]
    record: StudyRecord

    def check(self, jobs: Sequence[Job]) -> None:
        """Refuse cells that cannot decide the claim; raises NstError.

        Args:
            jobs: the cells, composed, in their order.
        """
        for one in self.record.measures:
            self._check_measure(measure(**one), jobs)
        identities = [identity_of(job.config) for job in jobs]
        step = len(self.record.conditions)
        rows = [tuple(identities[start : start + step]) for start in range(0, len(jobs), step)]
        names = list(self.record.conditions)
        for row in rows:
            for index, identity in enumerate(row):
                if identity is not None and (first := row.index(identity)) < index:
                    raise NstError(
                        f"study.conditions: {names[first]} and {names[index]} differ in nothing that decides "
                        "a canvas; change one of them"
                    )
        for index, row in enumerate(rows):
            if None not in row and (first := rows.index(row)) < index:
                same = self._repetition(index)
                told = " ".join(f"{key}={value}" for key, value in same.items())
                raise NstError(
                    f"study.repeat: {told} is the same cells as repetition {first + 1} of {len(rows)}, and "
                    "would count twice; leave out what decides nothing here"
                )

    def _check_measure(self, wanted: Measure, jobs: Sequence[Job]) -> None:
        """Refuse cells that cannot have a measure."""
        first, second = self.record.sides
        if wanted.needs_other and (len(first), len(second)) != (1, 1):
            raise NstError(
                f"study.measure={wanted.name}: compares two conditions; give one of each side in study.expect"
            )
        conditions, step = list(self.record.conditions), len(self.record.conditions)
        for start in range(0, len(jobs), step):
            configs = {name: jobs[start + place].config for place, name in enumerate(conditions)}
            for name in (*first, *second):
                beside = second[0] if name in first else first[0]
                wanted.check(configs[name], configs[beside] if wanted.needs_other else None)

    def _repetition(self, index: int) -> dict[str, str]:
        found: dict[str, str] = self.record.cells[index * len(self.record.conditions)]["repetition"]
        return found


def study_of(config: DictConfig) -> Study | None:
    """The study that a composed config has, checked; None if there is none.

    Raises:
        NstError: what is wrong with it.
    """
    node = config.hydra.sweeper.get("study")
    if node is None:
        return None
    if OmegaConf.is_missing(node, "claim") or not node.claim:
        raise NstError("study.claim: has no value, and needs one; say the claim in words")
    if OmegaConf.is_missing(node, "measure"):
        raise NstError("study.measure: has no value, and needs one; give the name of a measure")
    study: Any = OmegaConf.to_object(node)
    check_study(study)
    return study  # type: ignore[no-any-return]


def study_cells(study: Study, name: str, arguments: Sequence[str], loader: ConfigLoader) -> StudyCells:
    """The cells of a study; what the command line says of a key goes before what the study says.

    Raises:
        NstError: nothing is repeated, or a condition is more than one cell.
    """
    said = [_override(key, value) for key, value in study.settings.items()]
    said += [_override(key, value, several=True) for key, value in study.repeat.items()]
    parsed = parse_swept(None, [*said, *arguments], loader)
    given = {part.get_key_element() for part in parse_swept(None, arguments, loader)}
    swept = [part for part in parsed if part.is_sweep_override()]
    fixed = [part for part in parsed if not part.is_sweep_override()]
    repetitions = product(swept, loader)
    if len(repetitions) < 2:
        raise NstError(
            "study.repeat: nothing is repeated, and one pair decides nothing; give values, as in "
            "{seed: range(4)}"
        )
    conditions = {
        condition: [
            f"{part.get_key_element()}={part.get_value_element_as_str()}"
            for part in _condition(condition, settings, swept, loader)
            if part.get_key_element() not in given
        ]
        for condition, settings in study.conditions.items()
    }
    kind, *sides = expected(study)
    overrides, cells = list[list[str]](), list[dict[str, Any]]()
    for repetition in repetitions:
        repeated = dict(part.split("=", 1) for part in repetition)
        for condition, own in conditions.items():
            keys = {part.split("=", 1)[0] for part in own}
            base = [part for part in fixed if part.get_key_element() not in keys]
            overrides.append([*(str(part.input_line) for part in base), *repetition, *own, ALONE])
            cells.append({"condition": condition, "repetition": repeated})
    record = StudyRecord(
        name=name,
        claim=study.claim,
        source=study.source,
        conditions=conditions,
        measures=measures_of(study),
        by=study.by,
        kind=kind,
        sides=sides,
        margin=study.expect.margin,
        cells=cells,
    )
    return StudyCells(overrides, record)


def _condition(
    condition: str, settings: dict[str, Any], swept: Sequence[Override], loader: ConfigLoader
) -> list[Override]:
    """The overrides of a condition's cells."""
    repeated = {part.get_key_element() for part in swept}
    parsed = parse_swept(None, [_override(key, value) for key, value in settings.items()], loader)
    for part in parsed:
        key = f"study.conditions.{condition}.{part.get_key_element()}"
        if part.is_sweep_override():
            raise NstError(f"{key}={part.get_value_string()}: takes one value; more conditions take more")
        if part.get_key_element() in repeated:
            raise NstError(f"{key}: is repeated, too; leave it out of one of them")
    return parsed


def _override(key: str, value: Any, several: bool = False) -> str:
    """A key and a value of YAML as an override; `several` makes a list values to sweep over."""
    if several and isinstance(value, list):
        return f"{key}={','.join(map(_text, value))}"
    line = f"{key}={value if isinstance(value, str) else _text(value)}"
    try:
        OverridesParser.create().parse_override(line)
    except HydraException:
        return f"{key}={_quoted(str(value))}"
    return line


def _text(value: Any) -> str:
    """A value of YAML in Hydra's grammar."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_text(item)}' for key, item in value.items())}}}"
    if isinstance(value, str):
        plain = value.replace("/", "").replace(".", "").replace("-", "").replace("_", "").isalnum()
        return value if plain else _quoted(value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    return QuotedString(text.replace("${", "\\${"), Quote.single).with_quotes()
