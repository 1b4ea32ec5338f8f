"""Verdicts from run directories."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nst.errors import NstError
from nst.runs.record import RunRecord, Status, SweepRecord
from nst.runs.study_record import StudyRecord
from nst.runs.verdict_record import VerdictRecord
from nst.studies.gathering import gather, main
from nst.studies.judging import corrected, judge, verdict_of

MOMENT = "2026-11-26T20:00:00+00:00"
Value = Any  # of (pair, seed, condition): the total loss of that cell; None where it is not finished


def make_study(folder: Path, value: Value, pairs: int = 8, seeds: int = 2, **said: Any) -> Path:
    """A sweep of a study whose cells have the total losses `value(pair, seed, condition)`."""
    cells, place = [], 0
    for pair in range(pairs):
        for seed in range(seeds):
            for condition in ("a", "b"):
                repetition = {"images.content": f"photo_{pair}.jpg", "seed": str(seed)}
                cells.append({"condition": condition, "repetition": repetition})
                total, run = value(pair, seed, condition), folder / str(place)
                run.mkdir(parents=True)
                place += 1
                status = Status.FINISHED if total is not None else Status.FAILED
                final = {"total": total} if total is not None else {}
                RunRecord(
                    name="x",
                    status=status,
                    started=MOMENT,
                    frames=[0],
                    final=final,
                    identity=f"{folder}{place}",
                ).write(run)
    said = {"measures": [{"name": "loss.total"}], "sides": [["a"], ["b"]]} | said
    record = StudyRecord(
        name=folder.name, claim="a is lower", conditions={"a": [], "b": []}, cells=cells, **said
    )
    record.write(folder)
    SweepRecord(name=f"study/{folder.name}", command="python run.py", started=MOMENT, cells=place).write(
        folder
    )
    return folder


def lower(pair: int, seed: int, condition: str) -> float:
    """`a` is lower in all pairs, by 1 in the mean over seeds."""
    return 10 + pair + (1 + 0.1 * pair + (-1) ** seed if condition == "b" else 0)


def test_a_claim_that_all_pairs_agree_with_is_supported(tmp_path: Path) -> None:
    [verdict] = judge(make_study(tmp_path / "s", lower))
    [effect] = verdict.effects
    assert verdict.verdict == "supported"
    assert (verdict.p, verdict.partial, verdict.cells) == (2 / 2**8, False, 32)
    assert effect.effect == pytest.approx(1.35)  # seeds are averaged within a pair
    assert (effect.agree, len(effect.pairs)) == (8, 8)
    assert effect.low is not None
    assert effect.high is not None
    assert 1.0 < effect.low < 1.35 < effect.high < 1.7
    assert (effect.pairs[0].name, effect.pairs[-1].name) == ("photo_7", "photo_0")  # best, least
    assert effect.pairs[0].values == {"a": 17.0, "b": pytest.approx(18.7)}
    assert VerdictRecord.read(tmp_path / "s") == verdict
    assert (tmp_path / "s/verdict.png").is_file()


def test_the_contrary_is_refuted(tmp_path: Path) -> None:
    verdict = verdict_of(make_study(tmp_path / "s", lower, sides=[["b"], ["a"]]))
    assert verdict.verdict == "refuted"
    assert verdict.effects[0].agree == 0
    assert verdict.more is None


def test_too_few_pairs_are_open_and_say_how_many_more(tmp_path: Path) -> None:
    verdict = verdict_of(make_study(tmp_path / "s", lower, pairs=4))
    assert (verdict.verdict, verdict.more) == ("open", 2)
    assert "about 2 more pairs would tell" in verdict.text


def test_a_ratio_is_a_geometric_mean(tmp_path: Path) -> None:
    def double(pair: int, seed: int, condition: str) -> float:
        return (2.0 if condition == "b" else 1.0) * 3 ** (pair + seed)

    [effect] = verdict_of(make_study(tmp_path / "s", double, by="ratio")).effects
    assert (effect.effect, effect.low, effect.high) == pytest.approx((2, 2, 2))
    assert max(pair.values["a"] for pair in effect.pairs) == pytest.approx(3 ** (7 + 0.5))


@pytest.mark.parametrize(
    ("kind", "margin", "word"),
    [
        ("alike", 2.0, "supported"),
        ("alike", 0.5, "refuted"),
        ("apart", 0.5, "supported"),
        ("alike", 1.36, "open"),
    ],
)
def test_alike_and_apart(kind: str, margin: float, word: str, tmp_path: Path) -> None:
    assert verdict_of(make_study(tmp_path / "s", lower, kind=kind, margin=margin)).verdict == word


def test_what_was_broken_off_is_judged_by_what_there_is(tmp_path: Path) -> None:
    def some(pair: int, seed: int, condition: str) -> float | None:
        return (
            None
            if pair == 7 or (pair == 6 and seed == 1 and condition == "a")
            else lower(pair, seed, condition)
        )

    verdict = verdict_of(make_study(tmp_path / "s", some))
    assert verdict.partial
    assert verdict.text.startswith("supported, partial · ")
    assert (verdict.finished, len(verdict.effects[0].pairs)) == (27, 7)
    assert verdict.left_out == ["photo_7: not finished"]


def test_nothing_finished_is_open(tmp_path: Path) -> None:
    [verdict] = judge(make_study(tmp_path / "s", lambda *_: None, pairs=2))
    assert (verdict.verdict, verdict.partial, verdict.effects[0].effect) == ("open", True, None)
    assert "nothing to judge" in verdict.text


def test_where_only_seeds_are_repeated_each_is_a_pair(tmp_path: Path) -> None:
    verdict = verdict_of(make_study(tmp_path / "s", lower, pairs=1, seeds=6))
    assert [pair.name for pair in verdict.effects[0].pairs][:1] == ["seed=0"]
    assert len(verdict.effects[0].pairs) == 6


def test_several_measures_have_to_agree(tmp_path: Path) -> None:
    both = [{"name": "loss.total"}, {"name": "support.measures:contrary"}]
    verdict = verdict_of(make_study(tmp_path / "s", lower, measures=both))
    assert verdict.verdict == "refuted"  # in one of them
    verdict = verdict_of(make_study(tmp_path / "t", lower, measures=both[:1] * 2))
    assert verdict.verdict == "supported"


def test_a_distance_of_two_canvases_is_the_effect_itself(tmp_path: Path) -> None:
    made = make_study(
        tmp_path / "s", lower, kind="alike", margin=2.0, measures=[{"name": "support.measures:distance"}]
    )
    [effect] = verdict_of(made).effects
    assert effect.effect == pytest.approx(1.35, abs=0.3)
    assert verdict_of(made).verdict == "supported"


def test_a_measure_that_is_not_finite_leaves_its_pair_out(tmp_path: Path) -> None:
    made = make_study(tmp_path / "s", lower, by="ratio", measures=[{"name": "support.measures:endless"}])
    verdict = verdict_of(made)
    assert len(verdict.effects[0].pairs) == 5
    assert verdict.left_out == [f"photo_{pair}: support.measures:endless is not finite" for pair in (5, 6, 7)]


def test_studies_together_are_corrected_for_their_number(tmp_path: Path) -> None:
    def weak(pair: int, seed: int, condition: str) -> float:
        return 1.0 + (1 + 0.01 * pair if condition == "b" else 0)

    one = verdict_of(make_study(tmp_path / "a", weak, pairs=6))
    assert (one.verdict, one.p) == ("supported", 2 / 2**6)
    both = corrected([one, one])
    assert [each.verdict for each in both] == ["open", "open"]
    assert (both[0].p, both[0].family) == (4 / 2**6, 2)
    assert both[0].more == 1
    assert "of 2 studies, by Holm" in both[0].text
    strong = verdict_of(make_study(tmp_path / "b", lower, pairs=8))
    assert [each.verdict for each in corrected([one, strong])] == ["supported", "supported"]


def test_all_verdicts_on_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(tmp_path / "out/study/one", lower, pairs=7)
    make_study(tmp_path / "out/study/two", lambda *_: 1.0, pairs=3)
    docs = tmp_path / "docs/verdicts.md"
    assert main([str(tmp_path / "out"), "--docs", str(docs)]) == 0
    assert "one: supported · loss.total" in capsys.readouterr().out
    page = (tmp_path / "out/verdicts.html").read_text()
    assert 'href="study/one/index.html"' in page
    assert "2 claims: 1 supported, 1 open" in page
    text = docs.read_text()
    assert "| [a is lower](#one) | **supported** |" in text
    assert (docs.parent / "verdicts/two.jpg").is_file()
    [first, _] = gather(tmp_path / "out")
    assert VerdictRecord.read(first.folder).family == 2


def test_outputs_without_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert main([str(tmp_path / "none")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "no study in it" in first
    assert "no such folder" in second


def test_a_measure_that_a_run_does_not_have_leaves_it_out(tmp_path: Path) -> None:
    made = make_study(tmp_path / "s", lower, measures=[{"name": "loss.tv"}])
    verdict = verdict_of(made)
    assert (verdict.verdict, len(verdict.left_out)) == ("open", 6)
    assert verdict.left_out[-1] == "3 more"


def test_an_unknown_measure_is_one_line(tmp_path: Path) -> None:
    made = make_study(tmp_path / "s", lower, measures=[{"name": "beauty"}])
    with pytest.raises(NstError, match="measure=beauty: no such measure"):
        verdict_of(made)


def test_the_order_of_pairs_does_not_matter(tmp_path: Path) -> None:
    made = make_study(tmp_path / "s", lower)
    verdict = verdict_of(made)
    assert math.isclose(verdict.p, corrected([replace(verdict, p=1.0)])[0].p)


def test_canvases_whose_optimizer_ran_away_are_told(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "s", lower)
    for place in range(32):  # as many losses for condition b, which is every other cell
        losses = [10, 1, 3 + (place % 2) * (place < 8), 3 + (place % 2) * (place < 8)]
        text = "iteration,total\n" + "".join(f"{at},{loss}\n" for at, loss in enumerate(losses))
        (folder / str(place) / "losses.csv").write_text(text)
    [verdict] = judge(folder)
    assert verdict.doubts == ["b: 4 of 16 end above 3 times their lowest loss"]
    assert verdict.text.endswith("; b: 4 of 16 end above 3 times their lowest loss")
    assert VerdictRecord.read(folder).doubts == verdict.doubts


def test_one_time_of_many_cells_is_told(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "s", lower, measures=[{"name": "seconds_per_iteration"}])
    for place in range(32):  # each cell of `a` alone, those of `b` in one batch
        timings = {"iterations_per_second": 10.0 + place, "batch_cells": 1 + 15 * (place % 2)}
        replace(RunRecord.read(folder / str(place)), timings=timings).write(folder / str(place))
    [verdict] = judge(folder)
    assert verdict.doubts == ["b: 16 of 16 share the time of their batch"]
    [other] = judge(make_study(tmp_path / "t", lower))
    assert other.doubts == []  # no measure of it is a time
