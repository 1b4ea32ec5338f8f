"""Overrides on the config of a run: options and values as Hydra composes them, whatever else it has."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from support.composing import composed

from nst.cli import describe_error
from nst.config.composed import from_composed, recorded
from nst.config.overrides import override
from nst.config.schema import Config
from nst.core.optimizers.adam import AdamConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
    """What `.hydra/config.yaml` holds of a run of a preset that changes groups and values."""
    path: Path = tmp_path_factory.mktemp("run") / "config.yaml"
    OmegaConf.save(composed(["experiment=paint", "optimizer.lr=0.5", "images.fit=crop"]), path)
    return recorded(OmegaConf.load(path))


def changed(run: DictConfig, *given: str) -> Config:
    return from_composed(override(run, given))


def test_what_is_not_overridden_stays(run: DictConfig) -> None:
    before, now = from_composed(run), changed(run, "size=96", "content_layers=[conv2_1,conv3_1]")
    assert (now.size, now.optimizer, now.weights) == (96, before.optimizer, before.weights)
    assert [layer for layer, on in now.content_layers.items() if on] == ["conv2_1", "conv3_1"]
    assert from_composed(run) == before


def test_an_option_stands_for_the_whole_of_the_one_before(run: DictConfig) -> None:
    assert changed(run, "optimizer.lr=0.25", "optimizer=adam").optimizer == AdamConfig(lr=0.25)
    assert changed(run, "optimizer=lbfgs").optimizer.lr == 1


def test_of_other_groups_an_option_changes_what_it_says(run: DictConfig) -> None:
    now = changed(run, "images=cat_mosaic", "model=vgg16")
    assert (Path(now.images.content).name, now.images.fit.name) == ("cat.png", "crop")


def test_an_option_may_choose_others(run: DictConfig) -> None:
    now, whole = changed(run, "model=torchvision"), from_composed(composed(["model=torchvision"]))
    assert (now.model, now.content_layers, now.style_layers) == (
        whole.model,
        whole.content_layers,
        whole.style_layers,
    )
    assert now.images == from_composed(run).images


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("optimizer=sgd", "optimizer=sgd: no such option; allowed are adam, lbfgs"),
        ("seed=1,2", "seed=1,2: takes one value here"),
        ("optimizer=adam,lbfgs", "optimizer=adam,lbfgs: takes one value here"),
        ("size=large", "size=large: must be a whole number"),
        ("siz=1", "siz=1: no setting of a run; allowed are activation, "),
        ("hydra.run.dir=x", "hydra.run.dir=x: no setting of a run"),
        ("experiment=paint", "experiment=paint: no setting of a run"),
        ("weights.styles=1", "weights.styles=1: no such key; did you mean weights.style? allowed are "),
        ("optimizer.momentum=1", "optimizer.momentum=1: no such key; allowed are optimizer.name, "),
    ],
)
def test_what_cannot_be_overridden_is_one_line(run: DictConfig, given: str, says: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - Hydra's and ours
        changed(run, given)
    assert describe_error(raised.value, [given]).startswith(says)
