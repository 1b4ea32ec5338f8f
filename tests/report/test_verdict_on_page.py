"""Where a study's verdict is shown: on the page of its sweep, and in what MLflow gets."""

from pathlib import Path

from support.rundirs import make_sweep

from nst.report.page import write_page
from nst.runs.verdict_record import EffectRecord, PairRecord, VerdictRecord
from nst.studies.figure import draw
from nst.tracking.summary import _numbers

PAIR = PairRecord(name="cat · wave", values={"a": 1.0, "b": 2.0}, effect=1.0, runs={"a": "0", "b": "1"})
EFFECT = EffectRecord(
    measure="extras:beauty", effect=1.0, low=0.5, high=1.5, support=0.01, lies=1, agree=1, pairs=[PAIR, PAIR]
)
VERDICT = VerdictRecord(
    study="x",
    claim="$a < b$ & so on",
    source="<me>",
    verdict="supported",
    p=0.01,
    sides=[["a"], ["b"]],
    effects=[EFFECT],
)


def test_the_page_of_a_study_shows_its_verdict(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", "study/x", [["seed=0"], ["seed=1"]], iterations=3)
    assert 'class="verdict"' not in write_page(folder).read_text()
    VERDICT.write(folder)
    draw(folder, VERDICT)
    page = write_page(folder).read_text()
    assert '<p class="notes">&lt;me&gt;</p>' in page
    assert "supported · extras:beauty 1 [0.5, 1.5], 1 of 2 pairs agree; p = 0.01" in page
    assert 'alt="every pair, the interval, and the canvases that show it best and least"' in page


def test_mlflow_gets_the_numbers_of_a_verdict() -> None:
    assert _numbers(VERDICT) == {
        "verdict/p": 0.01,
        "verdict/extras.beauty": 1.0,
        "verdict/extras.beauty/low": 0.5,
        "verdict/extras.beauty/high": 1.5,
        "verdict/extras.beauty/pairs": 2,
        "verdict/extras.beauty/agree": 1,
    }
    assert _numbers(VerdictRecord()) == {}
