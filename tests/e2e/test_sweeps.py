"""Sweeps of presets: what they expand to, where it goes, and what is painted once."""

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from support.command import Ended, command
from support.composing import register
from support.results import record

from nst.config.paths import ROOT
from nst.errors import NstError
from nst.execution.composing import Composer
from nst.execution.runner import job_of
from nst.runs.job import Job

register()

SMALL = ["model=vgg16", "model.weights=random", "size=16", "iterations=2", "hardware.device=cpu"]
SMALL += ["images.fit=square"]


PAIR = ["experiment=readme/conv_vs_relu,readme/noise_adam", "content_layers=conv1_1,conv3_1"]

README = (ROOT / "README.md").read_text()


def sweep(folder: Path, *arguments: str) -> Ended:
    return command(folder, "-m", *SMALL, "tracking=none", "hydra.sweep.dir=outputs/sweep", *arguments)


def resolved(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "sweep.json").read_text())
    return found


def cells(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/run.json"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """Two presets of which one has all cells of the other, with one key of theirs overridden."""
    folder = tmp_path_factory.mktemp("pair")
    ended = sweep(folder, *PAIR)
    assert (ended.code, ended.errors) == (0, []), ended.err
    return folder / "outputs/sweep", ended


def test_each_preset_is_a_sweep_of_its_own(pair: tuple[Path, Ended]) -> None:
    folder, _ = pair
    assert resolved(folder)["grids"] == ["readme/conv_vs_relu", "readme/noise_adam"]
    for name, count in (("conv_vs_relu", 4), ("noise_adam", 2)):
        grid = folder / "readme" / name
        assert [path.name for path in cells(grid)] == [str(number) for number in range(count)]
        assert resolved(grid)["name"] == f"readme/{name}"
        assert resolved(grid)["title"]
        words = str(resolved(grid)["command"]).split()
        assert words[:3] == ["python", "run.py", "-m"]
        assert f"experiment=readme/{name}" in words
        assert "content_layers=conv1_1,conv3_1" in words
        assert {"sheet.png", "sheet.mp4", "sheet.webp", "index.html"} <= {
            path.name for path in grid.iterdir()
        }
    assert (folder / "index.html").is_file()
    assert resolved(folder)["ended"] is not None


def test_a_plan_says_what_is_shared(pair: tuple[Path, Ended], tmp_path: Path) -> None:
    _, ended = pair
    assert "painting 4 cells in 1 batch" in ended.err
    planned = sweep(tmp_path, *PAIR, "plan=true")
    assert (planned.code, planned.errors) == (0, []), planned.err
    told = "6 cells: 0 painted before, 2 the same as another, 4 to paint in 1 batch, "
    assert any(line.startswith(told) for line in planned.out.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_cells_of_all_presets_are_batched_and_shared_ones_painted_once(pair: tuple[Path, Ended]) -> None:
    folder, ended = pair
    first, second = cells(folder / "readme/conv_vs_relu"), cells(folder / "readme/noise_adam")
    assert [record(run)["timings"]["batch_cells"] for run in first] == [4] * 4
    for run, painter in zip(second, first[2:], strict=True):  # relu comes last
        assert record(run)["identity"] == record(painter)["identity"]
        assert record(run)["taken_from"] == str(painter)
        assert (run / "canvas.png").samefile(painter / "canvas.png")
        assert record(run)["name"] != record(painter)["name"]
    assert all("taken_from" not in record(run) for run in first)
    assert "6 of 6 cells finished" in ended.err
    assert "2 of them taken" in ended.err


def test_a_glob_takes_what_it_matches_in_the_order_of_the_presets(tmp_path: Path) -> None:
    ended = sweep(tmp_path, "experiment=glob(readme/*_style*)", "plan=true")
    assert (ended.code, ended.errors) == (0, []), ended.err
    found = list(dict.fromkeys(line.split("/")[0] for line in ended.out.splitlines() if "/" in line))
    assert found == [
        *("visualize_style", "visualize_style_groups", "visualize_style_all", "visualize_style_patience"),
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_whole_readme_is_twelve_sheets_and_one_page_and_painted_once(tmp_path: Path) -> None:
    small = ["-m", *SMALL, "tracking=none"]
    whole = "experiment=glob(readme/*)"
    ended = command(tmp_path, *small, whole, "hydra.sweep.dir=outputs/first")
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert "61 of 61 cells finished in " in ended.err
    assert "5 of them taken" in ended.err
    first = tmp_path / "outputs/first"
    order = [line.split("`")[1] for line in README.splitlines() if line.startswith("| `readme/")]
    assert resolved(first)["grids"] == order
    assert len(order) == 12
    assert sum(len(cells(first / name)) for name in order) == 61
    shown = {"sheet.png", "sheet.mp4", "sheet.webp", "index.html"}
    for name in order:
        assert shown <= {path.name for path in (first / name).iterdir()}
        found = [record(run) for run in cells(first / name)]
        assert {run["status"] for run in found} == {"finished"}
        assert len({run["identity"] for run in found}) == len(found)
    page = (first / "index.html").read_text()
    assert page.count('<section id="grid-') == 12
    assert page.count("data-cell=") >= 61
    planned = command(tmp_path, *small, whole, "plan=true")
    assert (planned.code, planned.errors) == (0, []), planned.err
    assert "61 cells: 61 painted before" in planned.out
    some = "experiment=readme/visualize_both,readme/visualize_style_all"
    again = command(tmp_path, *small, some, "hydra.sweep.dir=outputs/second")
    assert (again.code, again.errors) == (0, []), again.err
    assert "2 of 2 cells were painted before, " in again.err
    assert "nothing is left to paint" in again.err
    assert (tmp_path / "outputs/second/readme/visualize_both/0/canvas.png").samefile(
        first / "readme/visualize_both/0/canvas.png"
    )


def test_a_glob_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    ended = sweep(tmp_path, "experiment=glob(reedme/*)")
    assert ended.code == 2
    [line] = ended.errors
    assert line.startswith("error: experiment=glob(reedme/*): no option has such a name; allowed are ")
    assert "readme/noise_adam" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("launcher", ["batched", "basic"])
def test_a_config_that_cannot_be_painted_leaves_nothing(launcher: str, tmp_path: Path) -> None:
    ended = sweep(
        tmp_path, "experiment=readme/noise_adam,quickstart", "size=16,0", f"hydra/launcher={launcher}"
    )
    assert ended.code == 2
    [line] = ended.err.splitlines()
    assert line.startswith("error: size=0:")
    assert list(tmp_path.iterdir()) == []


def test_another_launcher_paints_presets_too(tmp_path: Path) -> None:
    ended = sweep(
        tmp_path, "experiment=readme/visualize_both,readme/visualize_style_all", "hydra/launcher=basic"
    )
    assert (ended.code, ended.errors) == (0, []), ended.err
    folder = tmp_path / "outputs/sweep/readme"
    for name in ("visualize_both", "visualize_style_all"):
        assert [record(run)["status"] for run in cells(folder / name)] == ["finished"]
        assert (folder / name / "sheet.png").is_file()


KEYS = {
    "optimizer": ("adam", "lbfgs"),
    "content_layers": ("conv2_1", "[conv1_1,conv3_1]", "none"),
    "experiment": ("readme/noise_adam", "quickstart"),
    "variant": ("adam_cat_mosaic",),
    "images": ("cat_mosaic", "pagoda_starry_night"),
    "init_image": ("content", "noise"),
    "hydra/launcher": ("basic",),
    "seed": ("3", "0"),
    "weights.style": ("1e3", "7"),
    "weights.style_layers": ("[1,2,3,4,5]",),
    "images.content": ("'a=b, c.png'", "${images.style}"),
    "hydra.sweep.subdir": ("'7'",),
    "hydra.sweep.dir": ("'a b'", "'${outputs}/a'", "'a${seed}'"),
    "outputs": ("elsewhere",),
    "hydra.job.name": ("mine",),
    "+more": ("1",),
    "hardware.max_batch": ("4", "auto"),
    "weights": ("{style: 3, tv: 2}",),
    "optimizer.lr": ("0.5",),
    "tags": ("[a,b]",),
    "notes": ("'${seed} of ${weights.style}'", "null"),
    "iterations": ("0", "7", "${seed}"),
}


@given(
    st.lists(
        st.sampled_from([f"{key}={value}" for key, values in KEYS.items() for value in values]),
        max_size=6,
        unique=True,
    ),
    st.sampled_from(["sweep", "'${outputs}/sweep'"]),
)
@example(["weights.style=1e3", "weights={style: 3, tv: 2}"], "sweep")
@settings(max_examples=25, deadline=None)
def test_a_job_is_composed_as_hydra_does(overrides: list[str], place: str) -> None:
    loader, master, compose = composer(place)
    expected = loader.load_sweep_config(master, list(overrides))
    for number in (5, 6):  # the second from what was known
        with open_dict(expected):
            expected.hydra.job.id = expected.hydra.job.num = number
        found = compose(overrides, number)
        assert found == expected
        assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(expected)
        assert outcome(lambda: compose.job(overrides, number)) == outcome(lambda: alone(expected))  # noqa: B023


@pytest.mark.parametrize("preset", ["paint", "readme/content_init"])
def test_options_that_are_swapped_are_as_hydra_composes_them(preset: str) -> None:
    loader, master, _ = composer()
    compose, swapped = Composer(loader, master), 0
    for group in loader.list_groups(""):
        for option in loader.get_group_options(group)[:3]:
            overrides = [f"experiment={preset}", f"{group}={option}"]
            known = len(compose._options._bases)
            try:
                found = compose(overrides, 5)
            except HydraException:
                continue
            if len(compose._options._bases) > known:
                continue  # by Hydra
            expected = loader.load_sweep_config(master, overrides)
            with open_dict(expected):
                expected.hydra.job.id = expected.hydra.job.num = 5
            assert found == expected
            assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(expected)
            assert outcome(lambda: OmegaConf.to_object(found)) == outcome(  # noqa: B023
                lambda: OmegaConf.to_object(expected)  # noqa: B023
            )
            swapped += 1
    assert swapped > 15


def alone(config: DictConfig) -> tuple[Path, Job]:
    """The job of a config that shares nothing with others."""
    own, path = copy.deepcopy(config), Path(config.hydra.sweep.dir) / str(config.hydra.sweep.subdir)
    with open_dict(own):
        del own["hydra"]
    return path, job_of(own, config.hydra, path)


def outcome(act: Callable[[], object]) -> object:
    """What it returns, or why it does not."""
    try:
        return act()
    except (NstError, OmegaConfBaseException) as error:
        return str(error)


@cache
def composer(place: str = "sweep") -> tuple[ConfigLoader, DictConfig, Composer]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", [f"hydra.sweep.dir={place}"], RunMode.MULTIRUN)
        assert master.hydra.run.dir  # what time it is counts for all jobs of a sweep
        return loader, master, Composer(loader, master)


@pytest.mark.parametrize(
    "wrong", ["seed=none", "weights.nope=1", "~weights.tv", "optimizer=sgd", "size={a:1}"]
)
def test_what_cannot_be_composed_is_hydras_to_say(wrong: str) -> None:
    loader, master, compose = composer()
    said = []
    for attempt in (
        lambda: compose(["seed=1", wrong], 5),
        lambda: loader.load_sweep_config(master, ["seed=1", wrong]),
    ):
        with pytest.raises(HydraException) as caught:
            attempt()
        said.append(str(caught.value))
    assert said[0] == said[1]
