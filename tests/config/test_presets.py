"""The README's grids: each preset's cells, expanded as Hydra's own sweeper does, against the table."""

from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from support.composing import composed, config

from nst.config.layers import content_layers, style_layers
from nst.config.paths import ROOT
from nst.config.schema import Config

FOLDER = ROOT / "conf/experiment/readme"
SEED_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
EACH = tuple((layer,) for layer in SEED_LAYERS)
DEFAULT_PAIR, CAT, GREY = (
    ("pagoda.jpg", "starry_night.jpg"),
    ("cat.png", "mosaic.png"),
    ("cameraman_grey.png", "starry_night.jpg"),
)


@dataclass(frozen=True)
class Grid:
    """A row of the table of DESIGN, section 4; what it leaves open is the default."""

    optimizers: tuple[str, ...] = ("lbfgs",)
    pairs: tuple[tuple[str, str], ...] = (DEFAULT_PAIR,)  # with `optimizers`, one a row
    init: str = "noise"
    mode: str = "reconstruct"
    activations: tuple[str, ...] = ("relu",)
    content: tuple[tuple[str, ...], ...] = (("conv1_1",),)
    style: tuple[tuple[str, ...], ...] = (SEED_LAYERS,)
    iterations: int = 2500
    save_every: int = 10
    fps: int = 30
    rows: tuple[tuple[str, tuple[str, str]], ...] = field(default=())

    def cells(self) -> list[Any]:
        """Every cell as the facts that tell it, in order."""
        rows = self.rows or tuple(product(self.optimizers, self.pairs))
        return [
            (optimizer, pair, activation, content, style)
            for (optimizer, pair), activation, content, style in product(
                rows, self.activations, self.content, self.style
            )
        ]


def _groups(*groups: tuple[int, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(SEED_LAYERS[index] for index in group) for group in groups)


TABLE = {
    "noise_adam": (5, Grid(("adam",), content=EACH)),
    "noise_lbfgs": (5, Grid(content=EACH, iterations=2000)),
    "content_init": (
        15,
        Grid(
            init="content",
            content=EACH,
            rows=(("adam", DEFAULT_PAIR), ("lbfgs", DEFAULT_PAIR), ("adam", CAT)),
        ),
    ),
    "style_init": (5, Grid(("adam",), init="style", content=EACH)),
    "conv_vs_relu": (10, Grid(("adam",), activations=("conv", "relu"), content=EACH)),
    "visualize_content": (5, Grid(mode="visualize_content", content=EACH, iterations=1500, save_every=5)),
    "visualize_content_groups": (
        2,
        Grid(
            mode="visualize_content",
            content=_groups((1, 3, 4), (0, 2, 4)),
            iterations=700,
            fps=2,
            save_every=5,
        ),
    ),
    "visualize_style": (5, Grid(("adam",), mode="visualize_style", style=EACH)),
    "visualize_style_groups": (
        6,
        Grid(
            ("adam", "lbfgs"),
            mode="visualize_style",
            style=_groups((0, 1, 4), (1, 2, 3), (0, 1)),
            iterations=2000,
            fps=25,
            save_every=8,
        ),
    ),
    "visualize_style_all": (1, Grid(("adam",), mode="visualize_style")),
    "visualize_style_patience": (
        1,
        Grid(("adam",), mode="visualize_style", style=_groups((1, 2, 3)), iterations=4000),
    ),
    "visualize_both": (
        1,
        Grid(("adam",), pairs=(GREY,), mode="visualize_both", content=(SEED_LAYERS,)),
    ),
}


def jobs(preset: str) -> list[list[str]]:
    """The overrides of each cell, as Hydra's sweeper makes them of `experiment=PRESET`."""
    first = f"experiment={preset}"
    parameters = composed([first], hydra=True).hydra.sweeper.params or {}
    given = [*(f"{key}={value}" for key, value in parameters.items()), first]
    [batch] = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(given), None)
    return batch


default_config, default_tree = cache(config), cache(composed)


@cache
def cells(name: str) -> list[Config]:
    return [config(*overrides) for overrides in jobs(f"readme/{name}")]


def selected(layers: dict[Any, bool]) -> tuple[str, ...]:
    return tuple(sorted(layer for layer, used in layers.items() if used))


def test_the_presets_are_those_of_the_table() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(TABLE)


def test_61_cells() -> None:
    """What each preset has is compared with its row below."""
    assert sum(count for count, _ in TABLE.values()) == 61


@pytest.mark.parametrize("name", TABLE)
def test_preset_is_its_row_of_the_table(name: str) -> None:
    count, grid = TABLE[name]
    found = cells(name)
    assert len(found) == count
    assert [
        (
            cell.optimizer.name,
            (Path(cell.images.content).name, Path(cell.images.style).name),
            cell.activation.name,
            selected(cell.content_layers),
            selected(cell.style_layers),
        )
        for cell in found
    ] == grid.cells()
    for cell in found:
        assert cell.iterations == grid.iterations
        assert cell.save_every == grid.save_every
        assert cell.fps == grid.fps
        assert cell.mode.name == grid.mode
        assert cell.init_image.name == grid.init
        assert cell.optimizer.lr == {"adam": 0.06, "lbfgs": 1.0}[cell.optimizer.name]


@pytest.mark.parametrize("name", TABLE)
def test_what_no_preset_changes_is_the_default(name: str) -> None:
    default = default_config()
    for cell in cells(name):
        for key in ("model", "weights", "tracking", "hardware", "size", "seed"):
            assert getattr(cell, key) == getattr(default, key)


def test_the_groups_use_the_weights_of_their_position() -> None:
    found = [tuple(style_layers(cell).values()) for cell in cells("visualize_style_groups")[:3]]
    assert found == [
        (1e3 / 16**2, 1e3 / 32**2, 1e3 / 128**2),
        (1e3 / 16**2, 1e3 / 32**2, 1e3 / 128**2),
        (1e3 / 16**2, 1e3 / 32**2),
    ]
    assert content_layers(cells("visualize_style_groups")[0]) == ()


PRESETS = sorted((ROOT / "conf/experiment").rglob("*.yaml"))


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_opens_with_its_command(path: Path) -> None:
    name = path.relative_to(ROOT / "conf/experiment").with_suffix("").as_posix()
    lines = path.read_text().splitlines()
    assert lines[0] == "# @package _global_"
    command = lines[1].replace("run.py -m ", "run.py ")
    assert command.startswith(f"# python run.py experiment={name}")
    assert "sweeper" not in path.read_text() or "run.py -m " in lines[1]


def test_a_preset_says_what_it_asks_and_where_it_stands() -> None:
    order = {}
    for name in TABLE:
        sweep = composed([f"experiment=readme/{name}"], hydra=True).hydra.callbacks.sweep
        assert sweep.title
        order[name] = sweep.order
    assert sorted(TABLE, key=order.__getitem__) == list(TABLE)
    assert len(set(order.values())) == len(TABLE)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_overrides_what_differs_from_the_default(path: Path) -> None:
    defaults = default_tree(hydra=True)
    preset: Any = OmegaConf.to_container(OmegaConf.load(path))
    overrides = preset.pop("defaults", [])
    for base in [entry for entry in overrides if isinstance(entry, str)]:
        defaults = composed([f"experiment={base.removeprefix('/experiment/')}"], hydra=True)
    for override in [entry for entry in overrides if not isinstance(entry, str)]:
        [(key, option)] = override.items()
        group = key.removeprefix("override /")
        if group.endswith("_layers"):
            chosen = {option} if isinstance(option, str) else set(option)
            assert chosen != set(defaults[group])
        else:
            assert option != defaults.hydra.runtime.choices[group]
    hydra = preset.pop("hydra", {})
    assert set(hydra) <= {"callbacks", "sweeper"}
    for values in hydra.get("sweeper", {"params": {}})["params"].values():
        assert "," in values
    for key, value in preset.items():
        default = defaults[key]
        assert value != getattr(default, "name", default), f"{key}={value} is the default"


DEBUG = sorted(path.stem for path in (ROOT / "conf/debug").glob("*.yaml"))


@pytest.mark.parametrize("name", DEBUG)
@pytest.mark.parametrize("with_", ["experiment=poster", "hparams_search=weights", "variant=moments"])
def test_debug_has_the_last_word(name: str, with_: str) -> None:
    debugged = composed([f"debug={name}", with_], hydra=True)
    asked = composed([with_])
    assert debugged.size == (64 if name == "default" else asked.size)
    assert debugged.iterations <= 20
    assert debugged.scales.name == "single"
    assert not debugged.resume
    assert debugged.weights == asked.weights
    assert debugged.style_loss == asked.style_loss
    assert "/debug/" in debugged.hydra.run.dir
    assert "/debug/" in debugged.hydra.sweep.dir
    assert debugged.hydra.verbose == "nst"
    assert debugged.tracking.experiment == "nst-debug" != asked.tracking.experiment


def test_quickstart_is_six_small_cells() -> None:
    found = [config(*overrides) for overrides in jobs("quickstart")]
    assert len(found) == 6
    assert all(cell.size <= 128 and cell.iterations <= 100 for cell in found)
