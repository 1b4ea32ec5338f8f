"""Sweeps over nothing, sweeps without -m, and what a search has in common with a grid before it begins."""

import importlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from support.driven import JARGON, Driven, driven, on_small

from nst.errors import NstError
from nst.execution.executors.base import InProcessExecutor
from nst.runs.job import Job

pytestmark = pytest.mark.e2e  # run.py up to the first batch

SEARCH = "hparams_search=weights"


def refused(ended: Driven) -> str:
    """The one line that a command was refused with."""
    assert ended.code == 2, ended
    [line] = [line for line in ended.err.splitlines() if not line.startswith("warning: ")]
    assert line.startswith("error: ")
    assert not any(word in line for word in (*JARGON, "not foreseen", "ValueError")), line
    return line.removeprefix("error: ")


@pytest.mark.parametrize("before", [[], [SEARCH]], ids=["grid", "search"])
@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("optimizer=glob(x*)", "no option has such a name; allowed are adam, lbfgs"),
        ("weights.tv=glob(*)", "glob finds options of a group, and this is a value"),
        ("weights.tv=range(3,3)", "nothing to sweep over"),
        ("weights.tv=range(3,1)", "nothing to sweep over"),
        ("weights.tv=shuffle()", "nothing to sweep over"),
        ("weights.tv=choice()", "not understood as KEY=VALUE"),
        ("weights.tv=", "must be a number"),
        ("weights.tv=[]", "must be a number"),
        ("optimizer=", "no such option; allowed are adam, lbfgs"),
    ],
)
def test_nothing_to_sweep_over_is_one_line(
    before: list[str], argument: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refused(driven(on_small(["-m", *before, argument]), monkeypatch))
    assert line.startswith(f"{argument}: {says}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ('""', "seed=: must be a whole number"),
        ("[]", "seed=[]: must be a whole number"),
        ("range(3,3)", "seed=range(3,3): nothing to sweep over"),
        ("glob(x*)", "seed=glob(x*): glob finds options of a group"),
    ],
)
@pytest.mark.parametrize("asked", ["a", "a,b"])
def test_nothing_in_a_preset_is_one_line(
    asked: str, value: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf/experiment").mkdir(parents=True)
    for name in asked.split(","):
        preset = f"# @package _global_\nhydra: {{sweeper: {{params: {{seed: '{value}'}}}}}}\n"
        (tmp_path / f"conf/experiment/{name}.yaml").write_text(preset.replace("'\"\"'", "''"))
    monkeypatch.chdir(tmp_path)
    arguments = ["-m", f"hydra.searchpath=[file://{tmp_path}/conf]", f"experiment={asked}"]
    assert refused(driven(on_small(arguments), monkeypatch)).startswith(says)
    assert {path.name for path in tmp_path.iterdir()} == {"conf"}


@pytest.mark.parametrize(
    ("before", "argument"),
    [
        ([SEARCH], "hydra.sweeper.trials=0"),
        ([SEARCH], "hydra.sweeper.at_once=0"),
        (["seed=1,2"], "hydra.sweeper.max_batch_size=0"),
        (["seed=1,2"], "hydra.sweeper.max_batch_size=-1"),
    ],
)
def test_no_cells_at_a_time_is_one_line(
    before: list[str], argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refused(driven(on_small(["-m", *before, argument]), monkeypatch))
    assert line.startswith(f"{argument}: must be at least 1")


class Busy(InProcessExecutor):
    """An executor that refuses what it is asked, and says how much that was."""

    def check(self, jobs: Sequence[Job]) -> None:
        raise NstError(f"refused {len(jobs)}")


@pytest.mark.parametrize(("what", "jobs"), [("seed=1,2,3", 3), (SEARCH, 2)])
def test_the_executor_is_asked_before_anything_is_made(
    what: str, jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Plugins.instance()  # which imports them anew
    launcher = importlib.import_module("hydra_plugins.hydra_nst.batched_launcher").BatchedLauncher
    monkeypatch.setattr(launcher, "batch_executor", Busy())
    assert refused(driven(on_small(["-m", what]), monkeypatch)) == f"refused {jobs}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["experiment=readme/noise_adam"], "a sweep of 5 cells, over content_layers"),
        (["experiment=quickstart"], "a sweep of 6 cells, over optimizer, weights.style"),
        (["experiment=quickstart", "optimizer=adam"], "a sweep of 3 cells, over weights.style"),
        ([SEARCH], "a search of 24 cells, over weights.content, weights.style, weights.tv"),
        (["experiment=readme/visualize_both"], None),
        (["experiment=readme/noise_adam", "content_layers=conv3_1"], None),
        (["seed=3"], None),
    ],
    ids=["grid", "quickstart", "one key given", "search", "one cell", "all given", "no preset"],
)
def test_a_forgotten_m_is_told_and_the_cell_is_painted(
    arguments: list[str], says: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = driven(on_small(arguments), monkeypatch)
    assert ended.code is None
    assert ended.job is not None
    told = [line for line in ended.err.splitlines() if "-m" in line]
    name = arguments[0]
    after = f"; without -m one cell of the defaults is painted, and `python run.py -m {name}` paints all"
    assert told == ([f"warning: {name}: {says}{after}"] if says else [])
