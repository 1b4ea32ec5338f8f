"""Measures of run directories: what they are, and what they need."""

import csv
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from support.composing import config as compose
from support.rundirs import make_run

from nst.config.paths import ROOT
from nst.core.color import luminance
from nst.core.image_statistics import color_distance, noise_level, sharpness
from nst.errors import NstError
from nst.io.canvas_files import read_levels
from nst.io.weights import load_scorer
from nst.measures import MEASURES, Measure, measure, register
from nst.measures.measure import _measures
from nst.runs.reader import Run, read_run

config = cache(compose)  # it takes a second, and measures change nothing in it

# Those of a run alone, without an argument.
PLAIN = [
    name
    for name, found in MEASURES.items()
    if not found.needs_other and name not in ("iterations_to_loss", "seconds_to_loss", "color_distance")
]


def record(folder: Path, **changed: object) -> Run:
    """The run of a folder, with something else in its record."""
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    return read_run(folder)


def with_totals(folder: Path, totals: list[float], *overrides: str, **timings: float) -> Run:
    """A run whose total losses are `totals`."""
    make_run(folder, overrides=list(overrides), size=16, iterations=len(totals))
    with (folder / "losses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "losses.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows({**row, "total": total} for row, total in zip(rows, totals, strict=True))
    # It is in full, and the table rounds.
    final = json.loads((folder / "run.json").read_text())["final"] | {"total": totals[-1] * (1 - 1e-9)}
    return record(folder, final=final, **({"timings": timings} if timings else {}))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return read_run(make_run(tmp_path / "run", overrides=["content_layers=conv2_1"], size=32))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Run, Run]:
    speed: Mapping[str, float] = {"iterations_per_second": 5.0, "batch_cells": 4}
    adam = with_totals(tmp_path / "adam", [9, 5, 4, 3], "optimizer=adam", **speed)
    return adam, with_totals(tmp_path / "lbfgs", [9, 3, 2, 1, 0.5], "optimizer=lbfgs", **speed)


def refusal(name: str, *overrides: str, other: tuple[str, ...] | None = None, **arguments: object) -> str:
    """The line that cells are refused with; empty if they are not."""
    try:
        measure(name, **arguments).check(config(*overrides), config(*other) if other is not None else None)
    except NstError as error:
        return str(error)
    return ""


# Names


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_says_what_it_is(name: str) -> None:
    found = MEASURES[name]
    assert found.name == name
    assert found.source
    assert found.better in ("lower", "higher", None)
    assert (found.of.__doc__ or "").strip()


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("lpip", {}, "measure=lpip: no such measure; did you mean lpips? There are lpips, "),
        ("lpips.conv1_1", {}, "measure=lpips.conv1_1: no such measure; did you mean lpips? There"),
        ("", {}, "measure=: no such measure; There are"),
        ("iterations_to_loss", {}, "measure=iterations_to_loss: needs loss; give loss: VALUE"),
        ("lpips", {"net": "alex"}, "measure=lpips: net=alex: no such setting; it has none"),
        ("loss.style", {"layers": 1}, "measure=loss.style: layers=1: no such setting; allowed are layer"),
        ("nowhere_at_all:x", {}, "measure=nowhere_at_all:x: cannot be imported (No module named"),
        ("math:nothing", {}, "measure=math:nothing: cannot be imported (module 'math' has no attribute"),
        (":", {}, "measure=:: cannot be imported (Empty module name)"),
        ("math:pi", {}, "measure=math:pi: is no function of a run; give one"),
    ],
)
def test_what_is_no_measure_is_refused(name: str, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(NstError) as error:
        measure(name, **arguments)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


# Losses, iterations, seconds


def test_final_losses_are_those_recorded(run: Run) -> None:
    for name in ("total", "content", "style", "tv"):
        assert measure(f"loss.{name}").of(run) == run.record.final[name] > 0
    with (run.folder / "losses.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert measure("loss.style.conv3_1").of(run) == float(last["style/conv3_1"]) > 0
    assert measure("loss.style", layer="conv4_1").of(run) == float(last["style/conv4_1"]) > 0
    assert measure("loss.content.conv2_1").of(run) == float(last["content/conv2_1"]) > 0


def test_iterations_to_a_loss(pair: tuple[Run, Run]) -> None:
    adam, lbfgs = pair
    assert measure("iterations_to_loss", loss=4).of(adam) == 3
    assert measure("iterations_to_loss", loss=9.5).of(adam) == 1
    assert measure("iterations_to_loss", loss=2.9).of(adam) == math.inf
    assert measure("iterations_to_other_loss").of(lbfgs, adam) == 2
    assert measure("iterations_to_other_loss").of(adam, lbfgs) == math.inf
    assert measure("iterations_to_common_loss").of(lbfgs, adam) == 2
    assert measure("iterations_to_common_loss").of(adam, lbfgs) == 4


def test_seconds_are_a_canvas_s_share_of_its_batch(pair: tuple[Run, Run]) -> None:
    adam, lbfgs = pair
    assert measure("seconds_per_iteration").of(adam) == pytest.approx(1 / (5 * 4))
    assert measure("seconds_to_loss", loss=4).of(adam) == pytest.approx(3 / 20)
    assert measure("seconds_to_loss", loss=0).of(adam) == math.inf
    assert measure("seconds_to_other_loss").of(lbfgs, adam) == pytest.approx(2 / 20)
    assert measure("seconds_to_common_loss").of(adam, lbfgs) == pytest.approx(4 / 20)


def test_losses_of_another_objective_do_not_compare(pair: tuple[Run, Run], tmp_path: Path) -> None:
    other = with_totals(tmp_path / "tv", [9, 8, 7], "optimizer=adam", "weights.tv=3.0")
    for name in ("iterations_to_other_loss", "seconds_to_common_loss"):
        with pytest.raises(NstError, match=r"whose weights\.tv differs; give another measure$"):
            measure(name).of(pair[0], other)


def test_settings_that_are_newer_than_a_run_do_not_set_it_apart(pair: tuple[Run, Run]) -> None:
    old, new = pair
    known = OmegaConf.merge(new.config, {"color": {"name": "style"}, "images": {"fit": "square"}})
    assert measure("iterations_to_other_loss").of(replace(new, config=known), old) == 2
    other = OmegaConf.merge(known, {"color": {"name": "luminance"}, "images": {"fit": "keep"}})
    with pytest.raises(NstError, match=r"whose color\.name, images\.fit differs"):
        measure("iterations_to_other_loss").of(replace(new, config=other), old)


# Canvases


def test_scores_are_those_recorded(run: Run) -> None:
    assert measure("lpips").of(run) == (run.record.scores or {})["lpips_content"]
    assert measure("style_distance").of(run) == (run.record.scores or {})["style_distance"]


def test_scores_that_were_not_recorded_are_computed(run: Run) -> None:
    canvas, content, style = (
        read_levels(run.folder / f"{name}.png") for name in ("canvas", "content", "style")
    )
    scorer = load_scorer(torch.device("cpu"))
    (wanted,) = scorer.score([canvas], [content], [style])
    unscored = record(run.folder, scores=None)
    assert measure("lpips").of(unscored) == pytest.approx(wanted.lpips_content, rel=1e-5)
    assert measure("style_distance").of(unscored) == pytest.approx(wanted.style_distance, rel=1e-5)
    grey, *others = [luminance(image).expand(3, -1, -1) for image in (canvas, style, content)]
    to_style, to_content = scorer.score([grey] * 2, [grey] * 2, others)
    assert to_style != to_content
    assert measure("texture_distance").of(run) == pytest.approx(to_style.style_distance, rel=1e-5)
    assert measure("texture_distance", to="content").of(run) == pytest.approx(
        to_content.style_distance, rel=1e-5
    )


def test_style_distance_is_the_mean_of_its_parts(run: Run) -> None:
    layers = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")
    parts = [measure(f"style_distance.{layer}").of(run) for layer in layers]
    whole = measure("style_distance").of(record(run.folder, scores=None))
    assert len(set(parts)) == 5
    assert sum(parts) / 5 == pytest.approx(whole, rel=1e-5)
    assert measure("style_distance.conv3_1").of(run) > 0


def test_texture_distance_does_not_see_color(run: Run) -> None:
    """A grey canvas of the style image has its texture, and not its colours."""
    with Image.open(run.folder / "style.png") as style:
        grey = luminance(read_levels(run.folder / "style.png")).mul(255).round()[0].byte().numpy()
        Image.merge("RGB", [Image.fromarray(grey)] * 3).resize(style.size).save(run.folder / "canvas.png")
    assert measure("texture_distance").of(run) < 0.02
    assert measure("color_distance.style").of(run) > 5
    assert measure("style_distance").of(record(run.folder, scores=None)) > 0.05


def test_colors_sharpness_and_noise_are_the_canvas_s(run: Run) -> None:
    canvas, content, style = (
        read_levels(run.folder / f"{name}.png") for name in ("canvas", "content", "style")
    )
    assert measure("color_distance.content").of(run) == color_distance(canvas, content) > 0
    assert measure("color_distance", to="style").of(run) == color_distance(canvas, style) > 0
    assert color_distance(canvas, content) != color_distance(canvas, style)
    assert measure("sharpness").of(run) == sharpness(canvas) > 0
    assert measure("noise").of(run) == noise_level(canvas) > 0


def test_opacity_is_no_color(run: Run) -> None:
    before = measure("noise").of(run)
    with Image.open(run.folder / "canvas.png") as canvas:
        canvas.putalpha(Image.linear_gradient("L").resize(canvas.size))
        canvas.save(run.folder / "canvas.png")
    assert measure("noise").of(run) == before


def test_lpips_between_canvases(run: Run, tmp_path: Path) -> None:
    other = read_run(make_run(tmp_path / "other", overrides=["content_layers=conv5_1"], size=32))
    alike = measure("lpips_between")
    one, two = (read_levels(found.folder / "canvas.png") for found in (run, other))
    (wanted,) = load_scorer(torch.device("cpu")).score([one], [two], [two])
    assert alike.of(run, other) == pytest.approx(wanted.lpips_content, rel=1e-5)
    assert alike.of(run, other) == pytest.approx(alike.of(other, run), rel=1e-5)
    assert alike.of(run, other) > 0.01
    assert alike.of(run, run) == 0
    small = read_run(make_run(tmp_path / "small", overrides=[], size=16))
    with pytest.raises(NstError, match="its canvas is not of the size of that of"):
        alike.of(run, small)


@pytest.mark.parametrize("name", PLAIN)
def test_what_was_not_painted_has_no_measure(name: str, tmp_path: Path) -> None:
    with pytest.raises(NstError, match=r"is unfinished, and only what is finished can be measured$"):
        measure(name).of(read_run(make_run(tmp_path / "run", overrides=[], status="running")))


@pytest.mark.parametrize("name", ["noise", "texture_distance", "lpips"])
def test_a_damaged_canvas_is_one_line(name: str, run: Run) -> None:
    path = run.folder / "canvas.png"
    unscored = record(run.folder, scores=None)
    for damaged in (path.read_bytes()[:200], b"", b"no picture"):
        path.write_bytes(damaged)
        with pytest.raises(NstError, match=r"canvas\.png.*; paint it again$") as error:
            measure(name).of(unscored)
        assert "\n" not in str(error.value)


def test_a_canvas_of_several_styles_is_measured_as_recorded(run: Run) -> None:
    several = replace(run, config=OmegaConf.merge(run.config, {"images": {"style": ["a.png", "b.png"]}}))
    assert measure("style_distance").of(several) == (run.record.scores or {})["style_distance"]
    assert measure("color_distance.content").of(several) > 0
    for name in ("style_distance.conv3_1", "texture_distance", "color_distance.style"):
        with pytest.raises(NstError, match=r"2 style images; give runs of one style image$"):
            measure(name).of(several)


# Pareto


@pytest.mark.parametrize(
    ("mine", "theirs", "wanted"),
    [
        ((1, 2), (2, 3), 1),
        ((1, 2), (1, 3), 1),
        ((1, 3), (2, 2), 0),
        ((2, 3), (2, 3), 0),
        ((2, 3), (1, 3), -1),
    ],
)
def test_the_canvas_dominates_that_is_nowhere_worse(
    mine: tuple[int, int], theirs: tuple[int, int], wanted: int, tmp_path: Path
) -> None:
    runs = []
    for number, (content, style) in enumerate((mine, theirs)):
        folder = make_run(tmp_path / str(number), overrides=[], size=16)
        runs.append(record(folder, scores={"lpips_content": content, "style_distance": style}))
    found = measure("pareto", measures=["lpips", "style_distance"])
    assert found.of(*runs) == wanted
    assert found.of(*reversed(runs)) == -wanted


def test_of_some_measures_more_is_better(tmp_path: Path, own: None) -> None:
    folders = [make_run(tmp_path / str(size), overrides=[], size=size) for size in (16, 32)]
    small, large = (record(folder, scores={"lpips_content": 0.5}) for folder in folders)
    found = measure("pareto", measures=["lpips", "my_measures:size"])
    assert (found.of(large, small), found.of(small, large)) == (1, -1)


@pytest.mark.parametrize(
    ("measures", "said"),
    [
        (["lpips"], "measure=pareto: measures=['lpips']: needs two or more; give [lpips, style_distance]"),
        (["lpips", "sharpness"], "measure=pareto: sharpness has no better; give one of a run"),
        (["lpips", "lpips_between"], "measure=pareto: lpips_between compares runs itself; give"),
        (["lpips", "styl_distance"], "measure=styl_distance: no such measure; did you mean style_distance"),
        (["lpips", "loss.content"], "measure=loss.content: mode=visualize_style has no content loss"),
    ],
)
def test_pareto_needs_two_measures_that_cells_have(measures: list[str], said: str) -> None:
    assert refusal("pareto", "mode=visualize_style", measures=measures).startswith(said)
    assert not refusal("pareto", measures=["lpips", "loss.content"])


# What cells must have


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("loss.content", ["mode=visualize_style"], "mode=visualize_style has no content loss; give"),
        ("loss.style", ["mode=visualize_content"], "mode=visualize_content has no style loss; give"),
        (
            "loss.style.conv2_1",
            ["style_layers=[conv1_1,conv3_1]"],
            "style_layers has no conv2_1, but",
        ),
        ("style_distance.conv9_1", [], "conv9_1 is no layer of vgg16; allowed are conv1_1, conv1_2,"),
        ("lpips", ["size=15", "content_layers=conv1_1", "style_layers=conv1_1"], "size=15: needs canvases"),
        ("texture_distance", ["images.style=[data/cat.png,data/mosaic.png]"], "images.style has 2 images"),
        ("style_distance.conv3_1", ["images.style=[data/cat.png,data/mosaic.png]"], "images.style has 2 im"),
        ("color_distance.style", ["images.style=[data/cat.png,data/mosaic.png]"], "images.style has 2 imag"),
        (
            "iterations_to_other_loss",
            ["scales=pyramid", "size=256"],
            "losses at 3 sizes do not compare;",
        ),
    ],
)
def test_cells_that_cannot_have_a_measure_are_refused(name: str, overrides: list[str], said: str) -> None:
    assert refusal(name, *overrides).startswith(f"measure={name}: {said}")
    layers = ["content_layers=conv1_1"] if "content" in name else []
    assert not refusal(name.replace("conv9_1", "conv3_1"), *layers)


def test_the_image_to_compare_with_is_one_of_two() -> None:
    said = "measure=color_distance: to=canvas: allowed are content and style; give one of them"
    assert refusal("color_distance", to="canvas") == said
    assert refusal("texture_distance.canvas").endswith("allowed are content and style; give one of them")
    several = "images.style=[data/cat.png,data/mosaic.png]"
    assert not refusal("color_distance", several, to="content")
    assert refusal("color_distance", several, to="style")


@pytest.mark.parametrize("loss", ["much", math.nan, True, None])
def test_the_loss_to_reach_is_a_number(loss: object) -> None:
    assert refusal("iterations_to_loss", loss=loss).startswith(
        f"measure=iterations_to_loss: loss={loss}: must"
    )
    assert not refusal("seconds_to_loss", loss=3)


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("iterations_to_other_loss", "weights.tv=3", "total losses compare only with the same weights.tv"),
        (
            "seconds_to_common_loss",
            "content_layers=conv3_1",
            "total losses compare only with the same content",
        ),
        ("iterations_to_other_loss", "optimizer=adam", ""),
        ("iterations_to_other_loss", "init_image=content", ""),
        ("iterations_to_other_loss", "seed=5", ""),
        (
            "lpips_between",
            "size=64",
            "size=128 and 64: canvases of other sizes do not compare; give",
        ),
        ("lpips_between", "weights.tv=3", ""),
    ],
)
def test_conditions_that_do_not_compare_are_refused(name: str, override: str, said: str) -> None:
    found = refusal(name, other=(override,))
    assert found.startswith(f"measure={name}: {said}") if said else not found


def test_a_film_has_many_canvases(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    said = refusal("noise", f"images.content={tmp_path / 'film.gif'}", "canvas_format=png")
    assert said.endswith("film.gif is a film, and a measure is of one canvas; give a picture")


# A user's own

OWN = """
from nst.measures import Measure

broken = 3
size = Measure("size", "pixels", "here", "higher", lambda run: float(run.value("size")))

def text(run):
    return "much"

def fails(run):
    raise KeyError(
        "of two lines")

def three(run, other, third):
    return 0
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules in a folder outside the repository; that of the documentation is `extras`."""
    (found,) = re.findall(
        r"```python\n(# extras/extras.py\n.*?)```", (ROOT / "docs/measures.md").read_text(), re.S
    )
    monkeypatch.setitem(_measures, "noise_above", None)  # so that it is gone afterwards
    monkeypatch.delitem(sys.modules, "extras", raising=False)  # another test's
    (tmp_path / "own").mkdir()
    (tmp_path / "own/extras.py").write_text(found)
    (tmp_path / "own/my_measures.py").write_text(OWN)
    (tmp_path / "own/broken_measures.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    yield
    for name in ("extras", "my_measures"):
        sys.modules.pop(name, None)


def test_a_measure_of_one_s_own(run: Run, own: None, tmp_path: Path) -> None:
    found = measure("extras:brightness")
    assert (found.unit, found.source) == ("", "How bright the canvas is, from 0 to 1.")
    assert (found.better, found.needs_other) == (None, False)
    grey = Image.open(run.folder / "canvas.png").convert("L")
    assert found.of(run) == pytest.approx(np.asarray(grey).mean() / 255)
    found.check(config())
    for name in ("extras:noise_above", "noise_above"):
        compared: Measure = measure(name, share=0.25)
        assert (compared.name, compared.unit, compared.better) == (name, "levels", "lower")
        assert compared.needs_other
        assert compared.of(run, run) == pytest.approx(0.75 * measure("noise").of(run))
    with pytest.raises(NstError, match="is unfinished"):
        compared.of(read_run(make_run(tmp_path / "unfinished", overrides=[], status="running")), run)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken_measures:x", "cannot be imported (division by zero); see to PYTHONPATH, or to the module"),
        ("my_measures:broken", "is no function of a run; give one, of(run) or of(run, other)"),
        ("my_measures:three", "is no function of a run; give one, of(run) or of(run, other)"),
        ("builtins:dict", "is no function of a run; give one, of(run) or of(run, other)"),
        ("my_measures:text", "fails on FOLDER (could not convert string to float: 'much'); mend it"),
        ("my_measures:fails", "fails on FOLDER ('of two lines'); mend it"),
    ],
)
def test_a_broken_measure_of_one_s_own_is_one_line(name: str, said: str, run: Run, own: None) -> None:
    with pytest.raises(NstError) as error:
        measure(name).of(run)
    assert str(error.value) == f"measure={name}: {said.replace('FOLDER', str(run.folder))}"


def test_names_are_taken_once() -> None:
    with pytest.raises(
        NstError, match=r"^measure=noise: is nst\.measures\.canvas's already; give it another"
    ):
        register("noise", source="here")(lambda run: 0.0)
    assert MEASURES["noise"].source != "here"


def test_nothing_heavy_is_imported_until_it_is_asked_for() -> None:
    code = "import nst.measures, sys; print({'hydra', 'torch', 'mlflow', 'scipy'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
