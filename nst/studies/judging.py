"""From the run directories of a study to its verdict.

A study is judged by what there is of it: one that was broken off has a verdict, too, called partial.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nst.errors import NstError
from nst.measures import Measure, measure
from nst.measures.losses import totals
from nst.runs.reader import Run, read_run
from nst.runs.record import RunRecord, now
from nst.runs.study_record import StudyRecord
from nst.runs.sweep import run_folders, sweeps_in
from nst.runs.verdict_record import EffectRecord, PairRecord, VerdictRecord
from nst.studies.figure import draw
from nst.studies.statistics import ALPHA, Finding, above, contrary, holm, pairs_needed, within

Repetition = tuple[tuple[str, str], ...]
MOST_SAID = 5  # reasons why pairs are left out
RISEN = 3  # times its lowest loss: so far above it no optimizer that works ends


@dataclass(frozen=True)
class Pair:
    """What a pair is, and the runs of each condition in it, one for each repetition that is averaged."""

    name: str
    runs: dict[str, list[Run]]


def judge(folder: Path) -> list[VerdictRecord]:
    """Judge the study in a folder, or those in it, all together; write, draw and return their verdicts.

    None are there where the folder is of another sweep.
    """
    folders = [sweep for sweep in sweeps_in(folder) if (sweep / StudyRecord.NAME).is_file()]
    return publish({sweep: verdict_of(sweep) for sweep in folders})


def publish(verdicts: Mapping[Path, VerdictRecord]) -> list[VerdictRecord]:
    """Judge studies together by their verdicts alone; write and draw into their folders what comes of it."""
    together = corrected(list(verdicts.values()))
    for folder, verdict in zip(verdicts, together, strict=True):
        verdict.write(folder)
        draw(folder, verdict)
    return together


def verdict_of(folder: Path) -> VerdictRecord:
    """The verdict on the study in a folder, alone."""
    study = StudyRecord.load(folder)
    folders = run_folders(folder)[: len(study.cells)]
    runs = [read_run(run) if (run / RunRecord.NAME).is_file() else None for run in folders]
    finished = [run if run and run.record.finished else None for run in runs]
    pairs, left_out = pairs_of(study, finished)
    effects, findings = list[EffectRecord](), list[Finding]()
    for wanted in study.measures:
        found = measure(**wanted)
        effect, finding, unmeasured = _effect(study, found, pairs, folder)
        effects.append(effect)
        findings.append(finding)
        left_out += unmeasured
    if len(left_out) > MOST_SAID:
        left_out = [*left_out[:MOST_SAID], f"{len(left_out) - MOST_SAID} more"]
    count = sum(run is not None for run in finished)
    unjudged = VerdictRecord(
        study=study.name,
        claim=study.claim,
        source=study.source,
        partial=count < len(study.cells),
        cells=len(study.cells),
        finished=count,
        left_out=left_out,
        doubts=[*_risen(pairs), *_timed_together(study, pairs)],
        p=min(_support(effects), _refute(effects)),
        by=study.by,
        kind=study.kind,
        sides=study.sides,
        margin=study.margin,
        effects=effects,
        judged=now(),
    )
    return corrected([unjudged])[0]


def corrected(verdicts: Sequence[VerdictRecord]) -> list[VerdictRecord]:
    """The verdicts of studies that are judged together, their p-values corrected for their number.

    A claim is supported where its corrected p-value is 0.05 at most and the interval of each measure lies
    where it says; it is refuted where that is so of its contrary, in one measure. All others are open.
    """
    together = holm([min(_support(each.effects), _refute(each.effects)) for each in verdicts])
    left = sum(p > ALPHA for p in together)
    found = []
    for verdict, p in zip(verdicts, together, strict=True):
        support, refute = _support(verdict.effects), _refute(verdict.effects)
        word = "open"
        if verdict.effects and p <= ALPHA:
            if support <= refute and all(effect.lies == 1 for effect in verdict.effects):
                word = "supported"
            elif refute < support and any(effect.lies == -1 for effect in verdict.effects):
                word = "refuted"
        effects = [replace(effect, needed=_needed(verdict, effect, left)) for effect in verdict.effects]
        more = None
        if word == "open" and effects and all(effect.needed is not None for effect in effects):
            more = max(0, *(effect.needed - len(effect.pairs) for effect in effects if effect.needed))
        found.append(
            replace(verdict, verdict=word, p=p, family=len(verdicts), effects=effects, more=more or None)
        )
    return found


def _support(effects: Sequence[EffectRecord]) -> float:
    """Of all measures together, each of which has to support it."""
    return max((effect.support for effect in effects), default=1.0)


def _refute(effects: Sequence[EffectRecord]) -> float:
    """Of any of the measures, corrected for their number."""
    return min(1.0, len(effects) * min((effect.refute for effect in effects), default=1.0))


def _needed(verdict: VerdictRecord, effect: EffectRecord, left: int) -> int | None:
    """How many pairs it takes at the level at which those that are open are tested."""
    values = [_scaled(verdict.by, pair.effect) for pair in effect.pairs]
    finding = _finding(verdict.kind, verdict.by, verdict.margin, values)
    return pairs_needed(finding, ALPHA / max(1, left))


def _finding(kind: str, by: str, margin: float | None, values: Sequence[float]) -> Finding:
    if kind == "lower":
        return above(values)
    assert margin is not None
    found = within(values, _scaled(by, margin))
    return found if kind == "alike" else contrary(found)


def _scaled(by: str, value: float) -> float:
    """A difference as it is, a ratio as its logarithm: in which effects add up."""
    return math.log(value) if by == "ratio" else value


def pairs_of(study: StudyRecord, runs: Sequence[Run | None]) -> tuple[list[Pair], list[str]]:
    """The pairs whose cells are finished in all repetitions, and why others are left out.

    What differs in images is a pair of its own. What is repeated beside, such as seeds, is averaged within a
    pair: canvases of the same images are not independent. Where nothing but such is repeated, each is a pair.
    """
    keys = list(study.cells[0]["repetition"]) if study.cells else []
    several = {key for key in keys if len({cell["repetition"].get(key) for cell in study.cells}) > 1}
    telling = [key for key in keys if key in several and key.startswith("images")]
    telling = telling or [key for key in keys if key in several]
    wanted = {name for side in study.sides for name in side}
    groups: dict[Repetition, dict[Repetition, dict[str, Run | None]]] = defaultdict(lambda: defaultdict(dict))
    for cell, run in zip(study.cells, [*runs, *[None] * len(study.cells)], strict=False):
        repetition = cell["repetition"]
        pair = tuple((key, repetition[key]) for key in telling)
        if cell["condition"] in wanted:
            groups[pair][tuple(repetition.items())][cell["condition"]] = run
    pairs, left_out = list[Pair](), list[str]()
    for telling_values, repetitions in groups.items():
        name = " · ".join(_short(key, value) for key, value in telling_values)
        whole = [one for one in repetitions.values() if all(one.values())]
        if not whole:
            left_out.append(f"{name}: not finished")
            continue
        found: dict[str, list[Run]] = {
            condition: [run for one in whole if (run := one[condition])] for condition in whole[0]
        }
        pairs.append(Pair(name, found))
    return pairs, left_out


def _risen(pairs: Sequence[Pair]) -> list[str]:
    """In which conditions the optimizer ran away: their canvases are its doing, not the setting's."""
    found = []
    for condition in pairs[0].runs if pairs else ():
        runs = [run for pair in pairs for run in pair.runs[condition]]
        # At another scale the loss is another one.
        each = [totals(run) for run in runs if run.value("scales.name") in (None, "single")]
        risen = sum(bool(losses) and losses[-1] > RISEN * min(losses) for losses in each)
        if risen:
            found.append(f"{condition}: {risen} of {len(runs)} end above {RISEN} times their lowest loss")
    return found


def _timed_together(study: StudyRecord, pairs: Sequence[Pair]) -> list[str]:
    """In which conditions cells share the one time that their batch took: it is no measurement of each."""
    if not any(measure(**wanted).unit == "s" for wanted in study.measures):
        return []
    found = []
    for condition in pairs[0].runs if pairs else ():
        runs = [run for pair in pairs for run in pair.runs[condition]]
        together = sum(run.record.batch_cells > 1 for run in runs)
        if together:
            found.append(f"{condition}: {together} of {len(runs)} share the time of their batch")
    return found


def _short(key: str, value: str) -> str:
    """An image by the name of its file, anything else with its key."""
    value = value.strip("'\"")
    return Path(value).stem if key.startswith("images.") else f"{key}={value}"


def _effect(
    study: StudyRecord, found: Measure, pairs: Sequence[Pair], folder: Path
) -> tuple[EffectRecord, Finding, list[str]]:
    """What a measure says over all pairs."""
    measured, left_out = list[tuple[Pair, dict[str, float], dict[str, float]]](), list[str]()
    for pair in pairs:
        try:
            values = {name: _values(study, found, pair, name) for name in pair.runs}
            scaled = {name: _mean(study.by, each) for name, each in values.items()}
        except NstError as error:
            left_out.append(f"{pair.name}: {error}")
            continue
        if not all(map(math.isfinite, scaled.values())):
            left_out.append(f"{pair.name}: {found.name} is not finite")
            continue
        shown = {name: math.exp(each) if study.by == "ratio" else each for name, each in scaled.items()}
        measured.append((pair, scaled, shown))
    first, second = study.sides
    # Of two canvases a distance is the same both ways: then it is the effect itself.
    itself = (
        found.needs_other
        and study.kind != "lower"
        and measured
        and all(math.isclose(scaled[first[0]], scaled[second[0]], rel_tol=1e-6) for _, scaled, _ in measured)
    )
    effects = [
        scaled[first[0]]
        if itself
        else float(np.mean([scaled[n] for n in second]) - np.mean([scaled[n] for n in first]))
        for _, scaled, _ in measured
    ]
    finding = _finding(study.kind, study.by, study.margin, effects)
    agrees = _agreement(study)
    unscaled: Callable[[float], float] = math.exp if study.by == "ratio" else float
    records = [
        PairRecord(
            name=pair.name,
            values=shown,
            effect=unscaled(effect),
            runs={name: runs[0].folder.relative_to(folder).as_posix() for name, runs in pair.runs.items()},
        )
        for (pair, _, shown), effect in zip(measured, effects, strict=True)
    ]
    order = sorted(range(len(effects)), key=lambda index: -agrees(effects[index]))
    effect = EffectRecord(
        measure=found.name,
        unit=found.unit,
        effect=unscaled(finding.mean) if effects else None,
        low=unscaled(finding.low) if len(effects) > 1 else None,
        high=unscaled(finding.high) if len(effects) > 1 else None,
        support=finding.support,
        refute=finding.refute,
        lies=finding.lies,
        agree=sum(agrees(each) > 0 for each in effects),
        pairs=[records[index] for index in order],
    )
    return effect, finding, left_out


def _agreement(study: StudyRecord) -> Callable[[float], float]:
    """How far an effect is as the claim says: above 0 where it is."""
    if study.kind == "lower":
        return lambda effect: effect
    assert study.margin is not None
    margin, sign = _scaled(study.by, study.margin), 1 if study.kind == "alike" else -1
    return lambda effect: sign * (margin - abs(effect))


def _values(study: StudyRecord, found: Measure, pair: Pair, name: str) -> list[float]:
    """What a condition measures in each repetition of a pair."""
    if not found.needs_other:
        return [found.of(run) for run in pair.runs[name]]
    first, second = study.sides
    other = second[0] if name in first else first[0]
    return [found.of(run, beside) for run, beside in zip(pair.runs[name], pair.runs[other], strict=True)]


def _mean(by: str, values: Sequence[float]) -> float:
    """The mean over a pair's repetitions, by ratio that of logarithms; NstError where there is none."""
    if by == "ratio" and not all(value > 0 for value in values):
        raise NstError(f"by=ratio: {min(values):g} has none; give by: difference")
    return float(np.mean([_scaled(by, value) for value in values]))
