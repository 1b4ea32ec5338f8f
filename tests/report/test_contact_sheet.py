"""Contact sheets: the grid a sweep makes, what is where on the page, and the animation of it."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
from PIL import Image
from support.command import Ended
from support.forked import python
from support.rundirs import SEED_LAYERS, make_collection, make_run, make_sweep

from nst.errors import NstError
from nst.report.animation import WEBP_FRAMES, WEBP_HOLD, WEBP_WIDTH
from nst.report.build import animated_sheet, contact_sheet, rebuild
from nst.report.contact_sheet import (
    GAP,
    LARGEST,
    SMALLEST,
    TINIEST,
    WIDEST,
    Sheet,
    lay_out,
    placeholder,
    resize,
)
from nst.report.grid import Grid, grid

CONTENT_INIT = [
    [f"variant={variant}", f"content_layers={layer}"]
    for variant in ("adam", "lbfgs", "adam_second_pair")
    for layer in SEED_LAYERS
]
GROUPS = [
    [f"optimizer={name}", "mode=visualize_style", f"style_layers=[{layers}]"]
    for name in ("adam", "lbfgs")
    for layers in ("conv1_1,conv2_1,conv5_1", "conv2_1,conv3_1,conv4_1", "conv1_1,conv2_1")
]
LONG = "a_long_word_in_a_path/" * 9
ODD = [
    [f"images.content=<img src='{LONG}' alt=\"{end}\">", f"seed={seed}", f"+note={note}"]
    for end in ("é\n\x07漢", "b")
    for seed in (1, 2)
    for note in ("a" * 5000, "=,=", "")
]


def frames_of(path: Path) -> list[np.ndarray]:
    with imageio.get_reader(path) as video:
        return [np.asarray(frame) for frame in video]


def block(page: np.ndarray, x: int, y: int, side: int) -> np.ndarray:
    return page[y : y + side, x : x + side].astype(float)


def squares(sheet: Sheet) -> list[tuple[int, int]]:
    return [(x, y) for x, y, _ in [*sheet.images, *sheet.cells]]


def folders(found: Grid) -> list[list[Path | None]]:
    return [[run.folder if run else None for run in row] for row in found.runs]


@pytest.fixture(scope="module")
def content_init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps") / "content_init"
    return make_sweep(folder, "readme/content_init", CONTENT_INIT)


# The grid.


def test_grid_has_the_last_varying_override_across_and_the_one_before_it_down(content_init):
    found = grid(content_init)
    assert found.title == "readme/content_init"
    assert (found.row_axis, found.column_axis) == ("variant", "content layer")
    assert found.row_labels == ["adam", "lbfgs", "adam_second_pair"]
    assert found.column_labels == [f"{i} · {layer}" for i, layer in enumerate(SEED_LAYERS)]
    numbers = [[int(cell.name) for cell in row if cell] for row in folders(found)]
    assert numbers == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]


def test_subtitle_says_what_all_cells_share_and_nothing_else(content_init):
    facts = grid(content_init).subtitle.split(" · ")
    assert facts == [
        "reconstruct",
        "style layers {0,1,2,3,4}",
        "initial canvas noise",
        "activation relu",
        "20 iterations",
        "32 px",
        "model vgg16 (vgg19 asked for)",
        "weights 5 content, 7000 style, 1.2 tv",
    ]


def test_groups_of_layers_are_labelled_by_their_numbers_with_their_names_below(tmp_path):
    found = grid(make_sweep(tmp_path / "sweep", "groups", GROUPS))
    assert (found.row_axis, found.column_axis) == ("optimizer", "style layers")
    assert found.column_labels[1] == "{1,2,3}\nconv2_1 conv3_1 conv4_1"
    assert found.row_labels == ["adam", "lbfgs"]


def test_other_layers_are_labelled_by_their_names(tmp_path):
    jobs = [[f"content_layers={value}"] for value in ("conv4_2", "[conv3_1,conv4_2]", "none")]
    found = grid(make_sweep(tmp_path / "sweep", "other", jobs))
    assert found.column_axis == "content layers"
    assert found.column_labels == ["conv4_2", "conv3_1 conv4_2", "none"]


@pytest.mark.parametrize(
    ("mode", "axis", "label"),
    [
        ("reconstruct", "content layer", "0 · conv1_1"),
        ("visualize_content", "content layer", "0 · conv1_1"),
        ("visualize_style", "style layers", "{1,3}\nconv2_1 conv4_1"),
        (
            "visualize_both",
            "content and style layers",
            "0 · conv1_1 · {1,3}\nconv2_1 conv4_1",
        ),
    ],
)
def test_a_single_cell_is_labelled_with_the_layers_its_mode_uses(tmp_path, mode, axis, label):
    job = [f"mode={mode}", "style_layers=[conv2_1,conv4_1]"]
    found = grid(make_sweep(tmp_path / "sweep", "one", [job]))
    assert (found.column_axis, found.column_labels) == (axis, [label])
    assert (found.row_axis, found.row_labels) == ("", [""])
    assert folders(found) == [[tmp_path / "sweep" / "0"]]


def test_rows_are_the_combinations_that_occur_and_a_cell_that_does_not_is_none(tmp_path):
    jobs = [
        ["optimizer=adam", "weights.style=1e4", "seed=0"],
        ["optimizer=adam", "weights.style=1e4", "seed=1"],
        ["optimizer=lbfgs", "weights.style=1e5", "seed=1"],
    ]
    found = grid(make_sweep(tmp_path / "sweep", "uneven", jobs))
    assert found.row_axis == "optimizer, style weight"
    assert found.row_labels == ["adam · 1e4", "lbfgs · 1e5"]
    assert folders(found)[1] == [None, tmp_path / "sweep" / "2"]
    contact_sheet(tmp_path / "sweep")


def test_of_runs_with_the_same_overrides_the_first_finished_one_is_shown(tmp_path):
    sweep = tmp_path
    for number, status in enumerate(("failed", "finished", "finished")):
        make_run(sweep / str(number), overrides=["seed=3"], status=status)
    make_run(sweep / "3", overrides=["seed=4"])
    assert folders(grid(sweep)) == [[sweep / "1", sweep / "3"]]


def test_a_folder_without_runs_is_an_error_that_names_it(tmp_path, content_init):
    with pytest.raises(NstError, match="no such folder"):
        grid(tmp_path / "nowhere")
    (tmp_path / "0").mkdir()
    for folder in (tmp_path, content_init / "0"):
        with pytest.raises(NstError, match=f"{folder}: no runs"):
            contact_sheet(folder)
        assert not list(folder.glob("*sheet*"))


# The page.


def test_each_canvas_and_image_is_on_the_page_enlarged(content_init):
    page = np.asarray(Image.open(contact_sheet(content_init)))
    sheet = lay_out(grid(content_init))
    assert sheet.box[0] == SMALLEST
    assert [int(run.folder.name) for _, _, run in sheet.cells if run] == list(range(15))
    files = [(x, y, run.folder / "canvas.png") for x, y, run in sheet.cells if run]
    for x, y, path in [*files, *sheet.images]:
        shown = np.asarray(resize(Image.open(path), (SMALLEST, SMALLEST)))
        np.testing.assert_array_equal(block(page, x, y, SMALLEST), shown)


def test_large_canvases_are_reduced(tmp_path):
    sweep = make_sweep(tmp_path / "sweep", "sizes", [["size=48"], ["size=400"]], iterations=1)
    assert lay_out(grid(sweep)).box[0] == LARGEST


def test_images_stand_where_they_vary(tmp_path):
    pairs = ["images.content=data/cat.png", "images.content=data/pagoda.jpg"]
    seeds = ["seed=0", "seed=1", "seed=2"]

    def images(name: str, jobs: list[list[str]]) -> list[str]:
        sweep = make_sweep(tmp_path / name, name, jobs, status="failed")  # quick: nothing painted
        return [f"{p.parent.name}/{p.name}" for _, _, p in lay_out(grid(sweep)).images]

    def product(*axes: list[str]) -> list[list[str]]:
        return [list(job) for job in itertools.product(*axes)]

    assert images("shared", product(["activation=conv", "activation=relu"], seeds)) == [
        "0/content.png",
        "0/style.png",
    ]
    assert images("rows", product(pairs, seeds)) == [
        "0/content.png",
        "3/content.png",
        "0/style.png",
        "3/style.png",
    ]
    assert images("columns", product(seeds[:2], pairs)) == [
        "0/content.png",
        "1/content.png",
        "0/style.png",
        "1/style.png",
    ]
    assert images("only style", [[*job, "mode=visualize_style"] for job in product(seeds)]) == ["0/style.png"]
    variants = ["variant=adam", "variant=adam_second_pair"]
    assert images("too many", product(variants, pairs)) == []


def test_what_was_not_painted_is_grey_and_says_why(tmp_path):
    sweep = make_sweep(tmp_path / "sweep", "broken", [[f"seed={seed}"] for seed in range(6)])
    for seed, status in ((1, "failed"), (2, "running")):
        shutil.rmtree(sweep / str(seed))
        make_run(sweep / str(seed), overrides=["experiment=broken", f"seed={seed}"], status=status)
    (sweep / "3/run.json").write_text('{"status": "fin')
    (sweep / "4/canvas.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    shutil.rmtree(sweep / "5/.hydra")
    why = {
        1: ("failed", "the total loss is nan at iteration 7; lower optimizer.lr=0.06"),
        2: ("unfinished", ""),
        3: ("missing", "3/run.json"),
        4: ("missing", "4/canvas.png"),
    }
    page = np.asarray(Image.open(contact_sheet(sweep)))
    sheet = lay_out(grid(sweep))
    at = {int(run.folder.name): (x, y) for x, y, run in sheet.cells if run}
    for number, (word, reason) in why.items():
        tile = np.asarray(placeholder(word, reason, (SMALLEST, SMALLEST)))
        assert len(np.unique(tile)) > 10  # it has writing on it
        np.testing.assert_array_equal(block(page, *at[number], SMALLEST), tile)
    animated_sheet(sweep)


@pytest.mark.parametrize(
    ("jobs", "name"),
    [
        *((jobs, "readme/x") for jobs in (CONTENT_INIT, GROUPS, ODD)),
        *((jobs, "<b>&amp; " + "never ending " * 99) for jobs in (ODD, [["seed=0"]])),
    ],
)
def test_no_text_is_clipped_or_covers_anything(tmp_path, jobs, name):
    sweep = make_sweep(tmp_path / "sweep", name, jobs, status="failed")  # quick: nothing painted
    sheet = lay_out(grid(sweep), footer=True)
    contact_sheet(sweep)
    width, height = sheet.size
    assert width % 2 == height % 2 == 0
    boxes = [text.box for text in sheet.texts]
    boxes += [(x, y, x + sheet.box[0], y + sheet.box[0]) for x, y in squares(sheet)]
    for left, top, right, bottom in boxes:
        assert 0 < left < right < width
        assert 0 < top < bottom < height
    for one, other in itertools.combinations(boxes, 2):
        apart_across = one[2] <= other[0] or other[2] <= one[0]
        apart_down = one[3] <= other[1] or other[3] <= one[1]
        assert apart_across or apart_down, (one, other)


# The animation.


def test_animation_has_a_frame_for_each_of_the_canvases_and_ends_with_the_final_ones(content_init):
    sheet = lay_out(grid(content_init), footer=True)
    frames = frames_of(animated_sheet(content_init))
    assert len(frames) == len([0, 10, 19])
    assert frames[0].shape == (sheet.size[1], sheet.size[0], 3)
    for x, y, run in sheet.cells:
        shown = np.asarray(resize(Image.open(run.folder / "canvas.png"), sheet.box))
        difference = np.abs(block(frames[-1], x, y, sheet.box[0]) - shown)
        assert difference.mean() < 6  # H.264's loss
        earlier = np.abs(block(frames[0], x, y, sheet.box[0]) - shown)
        assert earlier.mean() > 30  # noise


def test_cells_are_in_step_by_iteration_and_hold_when_done(tmp_path):
    """Each cell's grey level is the iteration it is at."""
    sweep = tmp_path
    for number, (iterations, save_every) in enumerate(((21, 5), (61, 10))):
        overrides = [f"iterations={iterations}", f"save_every={save_every}", "fps=2"]
        run = make_run(sweep / str(number), overrides=overrides)
        shown = json.loads((run / "run.json").read_text())["frames"]
        levels = [np.full((32, 32, 3), 3 * at, np.uint8) for at in shown]
        imageio.mimwrite(run / "canvas.mp4", levels, fps=2, codec="libx264")
        Image.fromarray(levels[-1]).save(run / "canvas.png")
    sheet = lay_out(grid(sweep), footer=True)
    (first, second) = [(x, y) for x, y, run in sheet.cells if run]
    animation = animated_sheet(sweep)
    frames = frames_of(animation)
    assert imageio.get_reader(animation).get_meta_data()["fps"] == 2
    expected = [
        (0, 0), (5, 0), (10, 10), (15, 10), (20, 20), (20, 20), (20, 30),
        (20, 30), (20, 40), (20, 40), (20, 50), (20, 50), (20, 60),
    ]  # fmt: skip
    for frame, levels in zip(frames, expected, strict=True):
        for (x, y), level in zip((first, second), levels, strict=True):
            assert block(frame, x, y, sheet.box[0]).mean() == pytest.approx(3 * level, abs=3)


def test_a_long_animation_is_shown_in_longer_steps_and_ends_with_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr("nst.report.animation.MOST_FRAMES", 30)
    sweep = make_sweep(
        tmp_path / "sweep", "long", [["seed=0"]], size=16, iterations=32, config={"save_every": 1}
    )
    frames = frames_of(animated_sheet(sweep))
    assert 30 / 2 < len(frames) <= 30 + 1
    x, y, run = lay_out(grid(sweep)).cells[0]
    shown = np.asarray(resize(Image.open(run.folder / "canvas.png"), (SMALLEST, SMALLEST)))
    assert np.abs(block(frames[-1], x, y, SMALLEST) - shown).mean() < 6


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_a_single_frame_is_an_animation(tmp_path, status):
    make_run(tmp_path / "0", overrides=["seed=0"], iterations=1, status=status)
    assert len(frames_of(animated_sheet(tmp_path))) == 1


def test_a_video_that_cannot_be_read_is_not_made_up(tmp_path):
    for number in range(2):
        make_run(tmp_path / str(number), overrides=[f"seed={number}"])
    (tmp_path / "1/canvas.mp4").write_bytes(b"not a video")
    sheet = lay_out(grid(tmp_path), footer=True)
    frames = frames_of(animated_sheet(tmp_path))
    x, y, run = sheet.cells[1]
    grey = np.asarray(placeholder("missing", "1/canvas.mp4", sheet.box))
    final = np.asarray(resize(Image.open(run.folder / "canvas.png"), sheet.box))
    for frame, shown in zip(frames, (grey, grey, final), strict=True):
        assert np.abs(block(frame, x, y, sheet.box[0]) - shown).mean() < 6


def test_more_canvases_than_can_be_decoded_at_once_are_the_same_animation(tmp_path, monkeypatch):
    sweep = make_sweep(tmp_path / "sweep", "many", [[f"seed={n}"] for n in range(3)], iterations=40)
    expected = frames_of(animated_sheet(sweep))
    monkeypatch.setattr("nst.report.animation.MOST_DECODERS", 2)
    np.testing.assert_array_equal(frames_of(animated_sheet(sweep)), expected)
    monkeypatch.setattr("nst.report.animation.KEPT", 2 * 3 * 3 * SMALLEST**2)  # memory for two frames
    fewer = frames_of(animated_sheet(sweep))
    assert len(expected) == len([0, 10, 20, 30, 39])
    for frame, same in zip(fewer, expected[::2], strict=True):
        assert np.abs(frame.astype(float) - same).mean() < 3


def test_very_many_canvases_are_shown_smaller_and_then_cut(tmp_path):
    runs = [[make_run(tmp_path / "0", overrides=["seed=0"], iterations=1)]]
    found = grid(runs[0][0].parent)
    for rows, columns, side, shown in (
        (3, 10, SMALLEST, (3, 10)),
        (40, 10, WIDEST // 40 - GAP, (40, 10)),
        (2, 1000, TINIEST, (2, WIDEST // (TINIEST + GAP))),
    ):
        cells = [[found.runs[0][0]] * columns for _ in range(rows)]
        large = replace(found, runs=cells, rows=[("r",)] * rows, columns=[(f"c{n}",) for n in range(columns)])
        sheet = lay_out(large, footer=True)
        assert sheet.box[0] >= side
        assert len(sheet.cells) == shown[0] * shown[1]
        assert max(sheet.size) < 1.2 * WIDEST
        written = " ".join(text.line for text in sheet.texts).replace("\u00a0", " ")
        assert ("columns 1 to 85 of 1000" in written) == (columns == 1000)


# The animation for a README.


def test_webp_is_the_animation_made_small(content_init):
    animation = animated_sheet(content_init)
    frames = frames_of(animation)
    with Image.open(animation.with_suffix(".webp")) as webp:
        assert (webp.format, webp.info["loop"]) == ("WEBP", 0)
        height, width, _ = frames[0].shape
        assert webp.size == (WEBP_WIDTH, round(height * WEBP_WIDTH / width))
        assert webp.n_frames == len(frames) == 3
        for index, frame in enumerate(frames):
            webp.seek(index)
            webp.load()
            assert webp.info["duration"] == (33 if index < 2 else 1000 * WEBP_HOLD)
            shown = Image.fromarray(frame).resize(webp.size, Image.Resampling.LANCZOS)
            difference = np.abs(np.asarray(webp.convert("RGB")).astype(float) - np.asarray(shown))
            assert difference.mean() < 6  # two lossy videos of the same
    assert not list(content_init.glob(".*"))


def test_webp_of_a_long_animation_has_its_first_and_last_frame_and_takes_as_long(tmp_path):
    """The canvas is white up to the column that is twice the iteration it is at."""
    run = make_run(tmp_path / "0", overrides=["seed=0"], iterations=1, size=200)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "frames": [*range(100)]}))
    levels = [np.full((200, 200, 3), 255 * (np.arange(200) < 2 * at)[:, None], np.uint8) for at in range(100)]
    imageio.mimwrite(run / "canvas.mp4", levels, fps=30, codec="libx264", macro_block_size=2)
    Image.fromarray(levels[-1]).save(run / "canvas.png")
    x, y, _ = lay_out(grid(tmp_path), footer=True).cells[0]
    shown, milliseconds = [], []
    with Image.open(animated_sheet(tmp_path).with_suffix(".webp")) as webp:
        assert webp.width == lay_out(grid(tmp_path)).size[0]  # never enlarged
        for index in range(webp.n_frames):
            webp.seek(index)
            webp.load()
            shown.append(block(np.asarray(webp.convert("RGB")), x, y, 200).mean() * 200 / 255)
            milliseconds.append(webp.info["duration"])
    even = 2 * np.linspace(0, 99, WEBP_FRAMES)
    np.testing.assert_allclose(shown, even, atol=2)
    assert sum(milliseconds[:-1]) == pytest.approx(1000 * 99 / 30, abs=WEBP_FRAMES)


# All of it.


def test_rebuild_makes_what_a_sweep_of_sweeps_shows_and_leaves_curves_as_they_are(tmp_path):
    jobs = {"readme/a": [["seed=0"], ["seed=1"]], "readme/b": [["seed=0"]]}
    folder = make_collection(tmp_path / "all", jobs, iterations=2)
    shutil.rmtree(folder / "readme/a/1")
    make_run(folder / "readme/a/1", overrides=["seed=1"], status="failed")
    (folder / "readme/b/0/losses.png").write_bytes(b"drawn before")
    about = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps(about | {"grids": [*jobs, "readme/not begun"]}))
    sheets = ("sheet.png", "sheet.mp4", "sheet.webp")
    drawn = list[bool]()
    pages = [folder / name / "index.html" for name in jobs]
    made = [
        str(path.relative_to(folder))
        for path in rebuild(folder, lambda: drawn.extend(map(Path.is_file, pages)))
    ]
    assert drawn == [False, False]
    assert made == [
        "readme/a/0/losses.png",
        *(f"readme/a/{name}" for name in sheets),
        *(f"readme/b/{name}" for name in sheets),
        *("readme/a/index.html", "readme/b/index.html", "index.html"),
    ]
    assert all((folder / name).stat().st_size for name in made)
    assert (folder / "readme/b/0/losses.png").read_bytes() == b"drawn before"


# The command.


@pytest.mark.e2e
def test_command_rebuilds_a_sweep_and_says_in_one_line_what_is_wrong(tmp_path):
    def gallery(*arguments: str) -> Ended:
        return Ended(*python(["-m", "nst.gallery", *arguments], Path.cwd(), dict(os.environ)))

    sweep = make_sweep(tmp_path / "sweep", "one", [["seed=0"]], iterations=1)
    done = gallery(str(sweep))
    assert (done.code, done.err) == (0, "")
    names = ("0/losses.png", "sheet.png", "sheet.mp4", "sheet.webp", "index.html")
    assert done.out.split() == [str(sweep / name) for name in names]
    assert all(Path(line).stat().st_mode & 0o444 == 0o444 for line in done.out.split())
    (sweep / "0/losses.png").unlink()
    (sweep / "0/losses.csv").write_text("nothing")
    (tmp_path / "empty").mkdir()
    broken = (
        (str(tmp_path / "nowhere"),),
        (str(tmp_path / "empty"),),
        (),
        (str(sweep),),
        (str(sweep / "sheet.png"),),
    )
    for arguments in broken:
        failed = gallery(*arguments)
        assert failed.code == 2
        assert failed.out == ""
        assert len(failed.err.splitlines()) == 1


def test_gallery_needs_neither_hydra_nor_torch_nor_mlflow():
    code = "import nst.report.build, sys; print({'hydra', 'torch', 'mlflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
