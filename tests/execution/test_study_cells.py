"""The cells of studies: what is painted, what is refused before, and the committed studies."""

from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from support.composing import composed, config, refusal

from nst.config.composed import from_composed
from nst.config.paths import CONF
from nst.errors import NstError
from nst.execution.study_cells import StudyCells, study_cells, study_of
from nst.measures import measure
from nst.runs.job import Job
from nst.studies.study import Study

STUDIES = sorted(path.stem for path in (CONF / "study").glob("*.yaml"))
SEED: dict[str, Any] = {
    "claim": "Adam ends higher",
    "settings": {"size": 32, "model": "vgg16", "model.weights": "random"},
    "conditions": {"adam": {"optimizer": "adam"}, "lbfgs": {"optimizer": "lbfgs"}},
    "repeat": {"seed": [0, 1]},
    "measure": "loss.total",
    "expect": {"lower": "lbfgs", "higher": "adam"},
}


def cells(*arguments: str, **changed: Any) -> StudyCells:
    """The cells of the study above, with what is changed, and arguments of the command line."""
    node = OmegaConf.merge(OmegaConf.structured(Study), {**SEED, **changed})
    study = study_of(OmegaConf.create({"hydra": {"sweeper": {"study": node}}}))
    assert study is not None
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return study_cells(study, "mine", arguments, GlobalHydra.instance().config_loader())


def jobs(made: StudyCells) -> list[Job]:
    """The cells, composed."""
    overrides = [[part for part in cell if not part.startswith("hydra.")] for cell in made.overrides]
    return [Job(from_composed(composed(cell)), Path(f"/x/{n}"), ()) for n, cell in enumerate(overrides)]


def wrong(*arguments: str, **changed: Any) -> str:
    """The line with which it is refused, before it is painted."""

    def composed_and_checked() -> None:
        made = cells(*arguments, **changed)
        made.check(jobs(made))

    with pytest.raises(NstError) as caught:
        composed_and_checked()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_condition_is_painted_for_every_repetition() -> None:
    made = cells("study=mine", repeat={"seed": "range(2)", "images.style": ["a.jpg", "b c.jpg"]})
    assert len(made.overrides) == 8
    assert made.overrides[1] == [
        "size=32",
        "model=vgg16",
        "model.weights=random",
        "study=mine",
        "seed=0",
        "images.style=a.jpg",
        "optimizer=lbfgs",
        "hydra.sweeper.study=null",
    ]
    assert made.record.cells[1] == {
        "condition": "lbfgs",
        "repetition": {"seed": "0", "images.style": "a.jpg"},
    }
    assert made.record.cells[2]["repetition"]["images.style"] == "'b c.jpg'"
    assert made.record.sides == [["lbfgs"], ["adam"]]
    assert made.record.conditions == {"adam": ["optimizer=adam"], "lbfgs": ["optimizer=lbfgs"]}


def test_the_command_line_goes_before_the_study() -> None:
    made = cells("size=64", "seed=5,6,7", "weights.tv=0,1")
    assert len(made.overrides) == 12
    assert all("size=64" in cell and "size=32" not in cell for cell in made.overrides)
    assert made.record.cells[0]["repetition"] == {"seed": "5", "weights.tv": "0"}


def test_the_cells_of_a_study_are_checked() -> None:
    made = cells()
    made.check(jobs(made))
    made = cells(measure={"name": "iterations_to_loss", "loss": 0.5}, by="ratio")
    made.check(jobs(made))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"claim": ""}, "study.claim: has no value"),
        ({"conditions": {"adam": {"optimizer": "adam"}}}, "study.conditions: there are 1"),
        (
            {"conditions": {"adam": "adam", "lbfgs": {}}},
            "study.conditions.adam=adam: must be keys with values",
        ),
        ({"conditions": {"adam": {"seed": 3}, "lbfgs": {}}}, "study.conditions.adam.seed: is repeated, too"),
        (
            {"conditions": {"adam": {"optimizer": "adam,lbfgs"}, "lbfgs": {}}},
            "study.conditions.adam.optimizer=adam,lbfgs: takes one value",
        ),
        ({"repeat": {}}, "study.repeat: nothing is repeated"),
        ({"repeat": {"seed": [4]}}, "study.repeat: nothing is repeated"),
        ({"by": "percent"}, "study.by=percent: allowed are difference, ratio"),
        ({"measure": 3}, "study.measure=3: must be a name"),
        ({"measure": "los.total"}, "measure=los.total: no such measure; did you mean loss.total?"),
        (
            {"measure": "loss.content", "settings": {"mode": "visualize_style", "size": 32}},
            "measure=loss.content: mode=visualize_style has no content loss",
        ),
        ({"expect": {}}, "study.expect: must have lower and higher, or alike, or apart"),
        ({"expect": {"lower": "adm", "higher": "lbfgs"}}, "no condition is called adm; did you mean adam?"),
        ({"expect": {"lower": "adam", "higher": ["lbfgs", "adam"]}}, "adam is both lower and higher"),
        ({"expect": {"lower": [], "higher": "adam"}}, "a side has no condition"),
        ({"expect": {"alike": ["adam"]}}, "study.expect.alike=['adam']: must be two conditions"),
        ({"expect": {"alike": ["adam", "lbfgs"]}}, "study.expect.margin=None: must be above 0"),
        (
            {"expect": {"apart": ["adam", "lbfgs"], "margin": 0.9}, "by": "ratio"},
            "study.expect.margin=0.9: must be above 1",
        ),
        (
            {"conditions": {"adam": {"optimizer": "adam"}, "lbfgs": {"optimizer": "adam", "fps": 5}}},
            "study.conditions: adam and lbfgs differ in nothing",
        ),
        (
            {"settings": {**SEED["settings"], "init_image": "content"}},
            "study.repeat: seed=1 is the same cells as repetition 1 of 2",
        ),
    ],
)
def test_what_no_cells_can_decide_is_refused(changed: dict[str, Any], said: str) -> None:
    assert said in wrong(**changed)


def test_conditions_that_the_command_line_makes_the_same_are_refused() -> None:
    assert "differ in nothing" in wrong("optimizer=adam")


def test_a_study_takes_a_sweep() -> None:
    said = refusal("study=tv_is_needed")
    assert said == "study=tv_is_needed: paints many cells; add -m, as in python run.py -m study=tv_is_needed"


def test_there_are_studies_of_the_seed_and_of_the_field() -> None:
    texts = [(CONF / f"study/{name}.yaml").read_text() for name in STUDIES]
    assert sum('source: "The seed: ' in text for text in texts) >= 15
    assert sum('source: "The seed: ' not in text for text in texts) >= 5


@pytest.mark.parametrize("name", STUDIES)
def test_a_committed_study_can_be_judged(name: str) -> None:
    text = (CONF / f"study/{name}.yaml").read_text()
    assert text.startswith(f"# @package hydra.sweeper.study\n# python run.py -m study={name}\n# ")
    study = study_of(composed([f"study={name}"], hydra=True))
    assert study is not None
    with initialize_config_dir(str(CONF), version_base="1.3"):
        made = study_cells(study, name, [f"study={name}"], GlobalHydra.instance().config_loader())
    pairs = {
        tuple((key, value) for key, value in cell["repetition"].items() if key.startswith("images"))
        for cell in made.record.cells
    }
    assert len(pairs) >= 6
    # One cell of each side stands for all.
    sides = [list(made.record.conditions).index(side[0]) for side in made.record.sides]
    found = [config(*made.overrides[side][:-1]) for side in sides]
    assert found[0] != found[1]
    for wanted in made.record.measures:
        measure(**wanted).check(found[0], found[1])
