"""Searches: what is asked, what is known of it after a kill, and the picture of what was found."""

import itertools
import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from PIL import Image
from support.command import Running, command
from support.results import record

from nst.errors import NstError
from nst.execution.search_sweep import distribution
from nst.report.pareto import draw_pareto_front
from nst.runs.record import OUTPUT_FILES, RunRecord, Status, describe_files, now
from nst.runs.search import Goal, Search, interval

SMALL = ["model=vgg16", "size=32", "iterations=3", "hardware.device=cpu", "tracking=none"]
SMALL += ["style_layers=conv1_1"]


@pytest.mark.parametrize(
    ("said", "drawn"),
    [
        ("a=interval(0,1)", FloatDistribution(0, 1)),
        ("a=tag(log, interval(1e2,1e5))", FloatDistribution(100, 100000, log=True)),
        ("a=range(1,5)", IntDistribution(1, 4)),
        ("a=range(0,10,3)", IntDistribution(0, 9, step=3)),
        ("a=x,y", CategoricalDistribution(["x", "y"])),
        ("a=conv1_1,[conv1_1,conv2_1]", CategoricalDistribution(["conv1_1", "[conv1_1,conv2_1]"])),
    ],
)
def test_ranges_are_what_the_command_line_says(said: str, drawn: object) -> None:
    assert distribution(OverridesParser.create().parse_override(said)) == drawn


@pytest.mark.parametrize(
    ("goal", "says"),
    [
        (lambda: Goal(("lpips",)), "objectives=lpips: no such objective; allowed are lpips_content"),
        (lambda: Goal(()), "objectives=[]: give at least one"),
        (lambda: Goal(("total", "tv"), (1.0,)), "weights=[1.0]: give a weight for each of total, tv"),
        (
            lambda: distribution(OverridesParser.create().parse_override("a=interval(2,1)")),
            "a=interval(2,1): ",
        ),
    ],
)
def test_what_cannot_be_searched_is_named(goal: object, says: str) -> None:
    with pytest.raises(NstError) as caught:
        goal()  # type: ignore[operator]
    assert says in str(caught.value)


def search_with_results(folder: Path, goal: Goal, count: int) -> Search:
    """A search of which all cells but the last two are finished, those with values by chance."""
    search = Search(folder, {"weights.style": interval(1, 100, log=True)}, goal, seed=3)
    search.ask(count)
    chance = random.Random(1)
    for number in range(count - 1):
        values = [chance.random() for _ in range(3)]
        cell = folder / str(number)
        cell.mkdir()
        for name in OUTPUT_FILES:
            (cell / name).touch()
        Image.new("RGB", (8, 8), (10 * number, 90, 90)).save(cell / "canvas.png")
        RunRecord(
            status=Status.FINISHED if number < count - 2 else Status.DIVERGED,
            error="too far",
            final={"total": values[2]},
            scores={"lpips_content": values[0], "style_distance": values[1]},
            started=now(),
            frames=[0],
            files=describe_files(cell),
        ).write(cell)
    return search


@pytest.mark.parametrize(
    "goal",
    [
        Goal(("lpips_content", "style_distance")),
        Goal(("total",)),
        Goal(("lpips_content", "style_distance"), (1.0, 0.5)),
        Goal(("lpips_content", "style_distance", "total")),
    ],
    ids=lambda goal: " ".join(goal.names),
)
def test_the_front_is_what_nothing_beats(goal: Goal, tmp_path: Path) -> None:
    search = search_with_results(tmp_path, goal, 16)
    trials = [trial for trial in search.trials() if trial.values is not None]
    assert len(trials) == 14
    beaten = {
        one.number
        for one, other in itertools.permutations(trials, 2)
        if all(b <= a for a, b in zip(one.values or [], other.values or [], strict=True))
    }
    best = search.best()
    assert {trial.number for trial in best} == {trial.number for trial in trials} - beaten
    assert [trial.values for trial in best] == sorted(trial.values for trial in best)
    with Image.open(draw_pareto_front(search, "A search")) as drawn:
        assert drawn.width > 1200
        assert len(drawn.getcolors(1 << 24) or []) > 50


def test_a_search_is_known_by_its_folder(tmp_path: Path) -> None:
    goal = Goal(("lpips_content", "style_distance"))
    before = search_with_results(tmp_path, goal, 8)
    again = Search(tmp_path, before.space, goal, seed=3)
    assert again.asked == before.asked
    assert again.ask(2) == [8, 9]
    assert len({str(params) for params in again.asked}) == 10
    others: list[dict[str, Any]] = [
        {"space": {"weights.tv": interval(0, 1, log=False)}},
        {"goal": Goal(("total",))},
        {"seed": 4},
        {"ends": ["of another size"]},
    ]
    for other in others:
        with pytest.raises(NstError, match="holds another search"):
            Search(tmp_path, **{"space": before.space, "goal": goal, "seed": 3} | other)


def test_a_trial_whose_files_are_damaged_is_painted_again(tmp_path: Path) -> None:
    goal = Goal(("total",))
    search_with_results(tmp_path, goal, 4)
    (tmp_path / "0/canvas.png").write_bytes(b"")
    (tmp_path / "1/run.json").write_text('{"status": "finished", "final": 3}')
    search = Search(tmp_path, {"weights.style": interval(1, 100, log=True)}, goal, seed=3)
    running, diverged = TrialState.RUNNING, TrialState.FAIL
    assert [trial.state for trial in search.trials()] == [running, running, diverged, running]


@pytest.mark.parametrize("trials", ["3", "[3]", '[{"weights.tv": 1}]', '{"a": 1}'])
def test_a_search_whose_record_is_damaged_begins_anew(
    trials: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    goal = Goal(("total",))
    before = search_with_results(tmp_path, goal, 4)
    known = json.loads((tmp_path / "search.json").read_text())
    (tmp_path / "search.json").write_text(json.dumps(known | {"trials": json.loads(trials)}))
    search = Search(tmp_path, before.space, goal, seed=3)
    assert search.asked == []
    assert caplog.messages == [f"{tmp_path / 'search.json'}: what it has for trials is wrong; passed over"]
    search.ask(4)
    assert search.asked == before.asked  # and so nothing is painted twice


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("trials", "at_once"), [(6, 3), pytest.param(24, 6, marks=pytest.mark.slow)], ids=["6", "24"]
)
def test_a_search_that_is_killed_goes_on_to_the_same_number(
    trials: int, at_once: int, tmp_path: Path
) -> None:
    arguments = ["-m", "hparams_search=weights", *SMALL]
    arguments += [f"hydra.sweeper.trials={trials}", f"hydra.sweeper.at_once={at_once}"]
    folder = tmp_path / "outputs/search/weights"
    running = Running(tmp_path, *arguments)
    running.until((folder / str(at_once) / "content.png").is_file)  # in the middle of the second lot
    running.send(signal.SIGKILL)
    assert running.ended().code == -signal.SIGKILL
    asked = json.loads((folder / "search.json").read_text())["trials"]
    began = {number: record(folder / str(number))["started"] for number in range(at_once)}
    assert len(asked) == 2 * at_once
    ended = command(tmp_path, *arguments)
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert f"{trials} of {trials} cells finished" in ended.err
    after = json.loads((folder / "search.json").read_text())["trials"]
    assert len(after) == trials
    assert after[: len(asked)] == asked
    for number in range(trials):
        found = record(folder / str(number))
        assert found["status"] == "finished"
        assert found["scores"]["lpips_content"] > 0
        assert began.get(number, found["started"]) == found["started"]
    assert {path.name for path in folder.glob("*.*")} >= {"front.png", "sheet.png", "index.html"}
    again = command(tmp_path, *arguments)
    assert again.code == 0
    assert "started" in record(folder / "0")
    assert len(json.loads((folder / "search.json").read_text())["trials"]) == trials
