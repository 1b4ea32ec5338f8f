"""The config tree and its checks, composed in this process."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from support.composing import composed, config, refusal

from nst.config.composed import recorded, typed
from nst.config.layers import check_layers, content_layers, style_layers
from nst.config.paths import ROOT
from nst.config.schema import Config
from nst.core.vgg import LAYERS
from nst.errors import NstError

SEED_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
SEED_WEIGHTS = [1e3 / n**2 for n in (16, 32, 128, 256, 512)]


def test_defaults_are_the_seeds() -> None:
    tree = composed()
    tree.tracking.uri = "set"  # by the environment
    assert OmegaConf.to_container(tree, resolve=True, enum_to_str=True) == {
        "model": {
            "name": "vgg19",
            "weights": "imagenet",
            "fallback": "vgg16",
            "normalize": False,
            "pooling": "max",
            "padding": "zeros",
        },
        "optimizer": {"name": "lbfgs", "lr": 1.0, "average": 0.0, "bounds": "none", "history_size": 100},
        "init_image": {"name": "noise"},
        "content_loss": {"name": "mse"},
        "style_loss": {"name": "gram"},
        "color": {"name": "style"},
        "scales": {"name": "single"},
        "content_layers": {"conv1_1": True},
        "style_layers": dict.fromkeys(SEED_LAYERS, True),
        "weights": {
            "content": 5.0,
            "style": 7000.0,
            "tv": 1.2,
            "by": "position",
            "style_layers": SEED_WEIGHTS,
        },
        "images": {
            "content": str(ROOT / "data/pagoda.jpg"),
            "style": str(ROOT / "data/starry_night.jpg"),
            "fit": "keep",
            "transparency": "white",
            "style_scale": 1.0,
            "style_weights": None,
            "content_mask": None,
            "style_mask": None,
        },
        "tracking": {
            "name": "mlflow",
            "uri": "set",
            "experiment": "neural-style-transfer",
            "canvas_steps": 3,
        },
        "hardware": {
            "device": "auto",
            "precision": "fp32",
            "capture": True,
            "recompute": "auto",
            "max_batch": "auto",
            "checkpoint": 60.0,
        },
        "mode": "reconstruct",
        "activation": "relu",
        "size": 128,
        "iterations": 2500,
        "save_every": 10,
        "fps": 30,
        "canvas_format": "png",
        "seed": 0,
        "frames": {"warm": True, "iterations": None, "most": None},
        "name": None,
        "tags": [],
        "notes": None,
        "outputs": "outputs",
        "resume": True,
        "plan": False,
    }


def test_adam_has_the_seeds_rate() -> None:
    optimizer = config("optimizer=adam").optimizer
    assert (optimizer.name, optimizer.lr) == ("adam", 0.06)


@pytest.mark.parametrize(
    "group", ["model", "init_image", "color", "images", "tracking", "hardware", "weights"]
)
def test_every_option_of_a_group_composes(group: str) -> None:
    options = sorted((ROOT / "conf" / group).glob("*.yaml"))
    assert options
    for option in options:
        more = ["init_image.path=x.png"] if option.stem == "file" else []
        config(f"{group}={option.stem}", *more)


@pytest.mark.parametrize("key", ["content_layers", "style_layers"])
def test_there_is_an_option_for_every_layer_of_vgg19(key: str) -> None:
    names = {path.stem for path in (ROOT / "conf" / key).glob("*.yaml")}
    assert names == {*LAYERS["vgg19"], "none"}
    chosen = ",".join(LAYERS["vgg19"])
    found = config(f"{key}=[{chosen}]", "weights.by=layer")
    selected = content_layers(found) if key == "content_layers" else tuple(style_layers(found))
    assert selected == LAYERS["vgg19"]


def test_images_of_the_tree_are_there_wherever_it_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for pair in (ROOT / "conf/images").glob("*.yaml"):
        images = config(f"images={pair.stem}").images
        assert Path(images.content).is_file()
        assert Path(images.style).is_file()


@pytest.mark.parametrize(
    ("override", "selected"),
    [
        ("content_layers=conv3_1", ("conv3_1",)),
        ("content_layers=[conv4_2]", ("conv4_2",)),
        ("content_layers=[conv2_1,conv4_1,conv5_1]", ("conv2_1", "conv4_1", "conv5_1")),
        ("content_layers=[conv5_1,conv1_1]", ("conv1_1", "conv5_1")),  # shallow to deep
        ("content_layers=[none,conv2_1]", ("conv2_1",)),
        ("content_layers=[conv2_1,conv2_1]", ("conv2_1",)),
    ],
)
def test_layers_replace_those_of_the_default(override: str, selected: tuple[str, ...]) -> None:
    assert content_layers(config(override)) == selected


@pytest.mark.parametrize(
    ("overrides", "content", "style"),
    [
        (["mode=visualize_content", "style_layers=none"], ("conv1_1",), ()),
        (["mode=visualize_style", "content_layers=none"], (), SEED_LAYERS),
        (["mode=visualize_content"], ("conv1_1",), ()),
        (["mode=visualize_style"], (), SEED_LAYERS),
        (["mode=visualize_both"], ("conv1_1",), SEED_LAYERS),
    ],
)
def test_a_mode_uses_its_layers_only(
    overrides: list[str], content: tuple[str, ...], style: tuple[str, ...]
) -> None:
    found = config(*overrides)
    assert (content_layers(found), tuple(style_layers(found))) == (content, style)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("activation=conv", "activation", "conv"),
        ("size=64", "size", 64),
        ("iterations=1", "iterations", 1),
        ("save_every=1", "save_every", 1),
        ("fps=1", "fps", 1),
        ("seed=9223372036854775807", "seed", 2**63 - 1),
        ("images.content=a.png", "images.content", "a.png"),
        ("images.style='my picture.png'", "images.style", "my picture.png"),
        ("weights.content=0", "weights.content", 0.0),
        ("weights.style=1e-3", "weights.style", 1e-3),
        ("weights.tv=0", "weights.tv", 0.0),
        ("weights.by=layer", "weights.by", "layer"),
        ("optimizer.lr=0.5", "optimizer.lr", 0.5),
        ("model.weights=random", "model.weights", "random"),
        ("model.fallback=null", "model.fallback", None),
        ("model.normalize=true", "model.normalize", True),
        ("hardware.device=cuda", "hardware.device", "cuda"),
        ("hardware.device=cuda:1", "hardware.device", "cuda:1"),
        ("hardware.device=cpu", "hardware.device", "cpu"),
        ("hardware.precision=fp64", "hardware.precision", "fp64"),
        ("hardware.precision=bf16", "hardware.precision", "bf16"),
        ("hardware.precision=tf32", "hardware.precision", "tf32"),
    ],
)
def test_values_that_people_type(override: str, key: str, value: object) -> None:
    found: object = config(override)
    for part in key.split("."):
        found = getattr(found, part)
    assert getattr(found, "name", found) == value


@pytest.mark.parametrize("variable", [None, "http://127.0.0.1:5000"])
def test_the_store_is_that_of_mlflows_own_variable(
    variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if variable:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    assert config().tracking.uri == (variable or "sqlite:///mlflow.db")
    assert config("tracking=none").tracking.uri is None


def test_the_experiment_is_that_of_mlflows_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    assert config().tracking.experiment == "neural-style-transfer"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "skies")
    assert config().tracking.experiment == "skies"
    assert config("tracking.experiment=mine").tracking.experiment == "mine"


def test_weights_by_position_are_those_of_the_nth_selected_layer() -> None:
    found = config("style_layers=[conv5_1,conv3_1]")
    assert style_layers(found) == {"conv3_1": 1e3 / 16**2, "conv5_1": 1e3 / 32**2}
    assert style_layers(config("style_layers=conv5_1")) == {"conv5_1": 1e3 / 16**2}
    assert style_layers(config()) == dict(zip(SEED_LAYERS, SEED_WEIGHTS, strict=True))


def test_weights_by_layer_are_those_of_the_block() -> None:
    found = config("style_layers=[conv5_1,conv3_1,conv3_2]", "weights.by=layer")
    assert style_layers(found) == {
        "conv3_1": 1e3 / 128**2,
        "conv3_2": 1e3 / 128**2,
        "conv5_1": 1e3 / 512**2,
    }


# What is given, what the line begins with, and what it has to say.
SQUEEZENET = ["model=torchvision", "content_layers=features.3"]
SQUEEZENET += ["style_layers=[features.12,features.0,features.3]"]
REFUSED = [
    (["iterations=0"], "iterations=0:", ["at least 1"]),
    (["save_every=0"], "save_every=0:", ["at least 1"]),
    (["fps=0"], "fps=0:", ["at least 1"]),
    (["seed=-1"], "seed=-1:", ["at least 0"]),
    (["seed=9223372036854775808"], "seed=9223372036854775808:", ["0 to 2^63 - 1"]),
    (["tracking.canvas_steps=0"], "tracking.canvas_steps=0:", ["at least 1"]),
    (["optimizer.lr=0"], "optimizer.lr=0.0:", ["finite number above 0"]),
    (["optimizer.lr=-1"], "optimizer.lr=-1.0:", ["finite number above 0"]),
    (["optimizer.lr=nan"], "optimizer.lr=nan:", ["finite number above 0"]),
    (["weights.content=nan"], "weights.content=nan:", ["finite number, 0 or more"]),
    (["weights.style=inf"], "weights.style=inf:", ["finite number, 0 or more"]),
    (["weights.tv=-0.1"], "weights.tv=-0.1:", ["finite number, 0 or more"]),
    (["weights.style_layers=[1,1,-1,1,1]"], "weights.style_layers[2]=-1.0:", ["0 or more"]),
    (["weights.style_layers=[1,1]"], "weights.style_layers=[1.0, 1.0]:", ["5 style", "weights.by=layer"]),
    (["weights.style_layers=[1]", "weights.by=layer"], "weights.style_layers=[1.0]:", ["each of the 5"]),
    (["content_layers=none"], "content_layers=none:", ["mode=reconstruct", "content_layers=conv1_1"]),
    (["style_layers=none"], "style_layers=none:", ["mode=reconstruct", "style_layers=conv1_1"]),
    (["mode=visualize_content", "content_layers=none"], "content_layers=none:", ["visualize_content"]),
    (["mode=visualize_style", "style_layers=none"], "style_layers=none:", ["visualize_style"]),
    (["mode=visualize_both", "style_layers=none"], "style_layers=none:", ["visualize_both"]),
    (["model=vgg16", "content_layers=conv3_4"], "content_layers=conv3_4:", ["vgg16 has no", "conv3_3"]),
    (["model=vgg16", "style_layers=[conv1_1,conv5_4]"], "style_layers=conv5_4:", ["vgg16", "conv5_3"]),
    (["size=0"], "size=0:", ["at least 16 pixels", "size=16"]),
    (["size=-128"], "size=-128:", ["at least 16 pixels"]),
    (["size=15"], "size=15:", ["conv5_1", "at least 16 pixels", "size=16"]),
    (["size=7", "mode=visualize_content", "content_layers=conv4_2"], "size=7:", ["conv4_2", "size=8"]),
    (["size=1", "mode=visualize_content"], "size=1:", ["at least 2 pixels"]),
    (["hardware.device=gpu"], "hardware.device=gpu:", ["auto, cpu, cuda, cuda:0"]),
    (["hardware.device=cuda:x"], "hardware.device=cuda:x:", ["auto, cpu, cuda, cuda:0"]),
    (["hardware.max_batch=0"], "hardware.max_batch=0:", ["auto", "numbers from 1"]),
    (["hardware.max_batch=many"], "hardware.max_batch=many:", ["auto"]),
    (["hardware.device=cpu:0"], "hardware.device=cpu:0:", ["auto, cpu, cuda, cuda:0"]),
    # What Hydra and OmegaConf find, in the same words.
    (["optimizer=sgd"], "optimizer=sgd:", ["no such option", "adam, lbfgs"]),
    (["content_layers=conv9_9"], "content_layers=conv9_9:", ["conv1_1, conv1_2", "none"]),
    (["content_layers=[conv1_1,conv9_9]"], "content_layers=conv9_9:", ["conv1_1, conv1_2", "none"]),
    (["experiment=readme/foo"], "experiment=readme/foo:", ["quickstart", "readme/noise_adam"]),
    (["hydra/launcher=slurm"], "hydra/launcher=slurm:", ["basic", "batched", "joblib"]),
    (["sizes=3"], "sizes=3:", ["no such key; did you mean size? allowed", "save_every"]),
    (["optimiser=adam"], "optimiser=adam:", ["did you mean optimizer?"]),
    (["device=cpu"], "device=cpu:", ["did you mean hardware.device?"]),
    (["hardware.devise=cpu"], "hardware.devise=cpu:", ["did you mean hardware.device?"]),
    (["experiment=posters"], "experiment=posters:", ["did you mean poster?"]),
    (
        ["images.contnt=a.png"],
        "images.contnt=a.png:",
        ["you mean images.content?", "images.content, images.style"],
    ),
    (["+foo=1"], "foo=1:", ["no such key", "size"]),
    (["++images.foo=1"], "images.foo=1:", ["no such key", "images.content, images.style"]),
    (["~size"], "size:", ["needs one", "size=VALUE"]),
    (["~images"], "images.content:", ["needs one", "images.content=VALUE"]),
    (["size=???"], "size:", ["needs one", "size=VALUE"]),
    (["size=abc"], "size=abc:", ["whole number"]),
    (["size=1.5"], "size=1.5:", ["whole number"]),
    (["size=true"], "size=True:", ["whole number"]),
    (["size=null"], "size=null:", ["must have a value"]),
    (["weights.tv=abc"], "weights.tv=abc:", ["must be a number"]),
    (["model.normalize=maybe"], "model.normalize=maybe:", ["true or false"]),
    (["weights.style_layers=3"], "weights.style_layers=3:", ["must be a list"]),
    (["weights.style_layers=[1,a]"], "weights.style_layers[1]=a:", ["must be a number"]),
    (["mode=paint"], "mode=paint:", ["reconstruct, visualize_content, visualize_style, visualize_both"]),
    (["activation=gelu"], "activation=gelu:", ["conv, relu"]),
    (["weights.by=block"], "weights.by=block:", ["position, layer"]),
    (["hardware.precision=fp8"], "hardware.precision=fp8:", ["fp32, tf32, bf16, fp64"]),
    (["model.fallback=vgg11"], "model.fallback=vgg11:", ["vgg16, vgg19"]),
    (["+content_layers.conv9=true"], "content_layers=conv9:", ["conv1_1", "conv5_4"]),
    (["hardware.recompute=never"], "hardware.recompute=never:", ["auto, true, false"]),
    (["optimizer.history_size=0"], "optimizer.history_size=0:", ["at least 1"]),
    ([*SQUEEZENET, "hardware.recompute=true"], "hardware.recompute=True:", ["hardware.recompute=auto"]),
    (["model.pooling=mean"], "model.pooling=mean:", ["max, average, l2"]),
    (["model.padding=reflect"], "model.padding=reflect:", ["zeros, replicate"]),
    (["model.name=squeezenet"], "model.name=squeezenet:", ["vgg16, vgg19", "squeezenet1_1"]),
    ([*SQUEEZENET, "style_layers=conv1_1"], "style_layers=conv1_1:", ["features.0", "(76 in all)"]),
    ([*SQUEEZENET, "content_layers=[features.0,features.99]"], "content_layers=features.99:", ["features.0"]),
    ([*SQUEEZENET, "activation=conv"], "activation=conv:", ["squeezenet1_1", "activation=relu"]),
    ([*SQUEEZENET, "weights.by=layer"], "weights.by=layer:", ["weights.by=position"]),
    ([*SQUEEZENET, "model.pooling=l2"], "model.pooling=l2:", ["model.pooling=max"]),
    ([*SQUEEZENET, "model.fallback=vgg16"], "model.fallback=vgg16:", ["model.fallback=null"]),
    ([*SQUEEZENET, "size=10"], "model.name=squeezenet1_1:", ["10 x 10", "another size"]),
    ([*SQUEEZENET, "content_layers=flatten"], "model.name=squeezenet1_1:", ["flatten", "[1, 1000]"]),
    (["size"], "size:", ["KEY=VALUE"]),
    (["images.content=a=b.jpg"], "images.content=a=b.jpg:", ["KEY=VALUE", "quotes"]),
    (["content_layers=[conv1_1"], "content_layers=[conv1_1:", ["KEY=VALUE"]),
    (
        ["content_layers=conv1_1,conv2_1"],
        "content_layers=conv1_1,conv2_1:",
        ["-m", "content_layers=[conv1_1,conv2_1]"],
    ),
    (["content_layers=null"], "content_layers=null:", ["content_layers=none", "--help"]),
]


def test_layers_of_any_network_are_chosen_as_those_of_vgg() -> None:
    found = config(*SQUEEZENET, "content_layers=features.4.expand3x3")
    assert content_layers(found) == ("features.4.expand3x3",)
    assert list(style_layers(found)) == ["features.0", "features.3", "features.12"]  # shallow to deep
    assert content_layers(config(*SQUEEZENET, "content_layers=[features.3,features.0]")) == (
        "features.0",
        "features.3",
    )


@pytest.mark.parametrize(("overrides", "begin", "says"), REFUSED, ids=lambda value: str(value)[:40])
def test_refused_on_one_line(overrides: list[str], begin: str, says: list[str]) -> None:
    line = refusal(*overrides)
    assert line.startswith(begin)
    assert "\n" not in line
    for part in says:
        assert part in line
    for jargon in ("full_key", "object_type", "DictConfig", "ListConfig", "Optional", "provider="):
        assert jargon not in line


def test_what_an_older_version_did_not_record_is_what_it_did() -> None:
    values: Any = OmegaConf.to_container(composed())
    for group, key in (("optimizer", "history_size"), ("model", "padding"), ("hardware", "recompute")):
        del values[group][key]
    assert typed(recorded(values)) == config()


def test_what_a_mode_does_not_use_may_be_wrong() -> None:
    config("model=vgg16", "mode=visualize_style", "content_layers=none", "size=16")
    config("mode=visualize_content", "style_layers=none", "weights.style_layers=[]", "size=2")


@pytest.mark.parametrize(
    ("overrides", "least"),
    [([], 16), (["mode=visualize_style", "style_layers=conv3_1"], 4), (["mode=visualize_content"], 2)],
)
def test_the_least_size_is_accepted(overrides: list[str], least: int) -> None:
    assert config(*overrides, f"size={least}").size == least
    assert refusal(*overrides, f"size={least - 1}").startswith(f"size={least - 1}:")


def test_layers_are_checked_again_for_the_fallback() -> None:
    found: Config = config("content_layers=conv3_4")
    with pytest.raises(NstError, match=r"^content_layers=conv3_4: vgg16 has no such layer"):
        check_layers(found, "vgg16")
