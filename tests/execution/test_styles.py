"""Several styles, regions and losses from the command line to the canvas, and what bad use of them gets."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.composing import config, refusal
from support.results import record

from nst.config.paths import ROOT
from nst.errors import NstError
from nst.execution.batch import run_batch
from nst.execution.resolve import identity_of, resolve
from nst.runs.job import Job

STARS, WAVE = f"{ROOT}/data/starry_night.jpg", f"{ROOT}/data/great_wave.jpg"
SMALL = (
    *("model=vgg16", "model.weights=random", "content_layers=conv1_1", "style_layers=conv1_1"),
    *("tracking=none", "size=24", "iterations=2", "save_every=1", "images=cat_starry_night"),
)
BOTH = f"images.style=[{STARS},{WAVE}]"


def mask(path: Path, like: str, *colours: tuple[int, int, int], across: bool = False) -> str:
    """A label image of bands, one below the other; returns its path."""
    with Image.open(ROOT / "data" / like) as image:
        bands = np.zeros((image.height, image.width, 3), np.uint8)
    for part, colour in zip(np.array_split(bands, len(colours), axis=int(across)), colours, strict=True):
        part[:] = colour
    Image.fromarray(bands).save(path)
    return str(path)


@pytest.mark.e2e
def test_a_sweep_over_losses_blends_and_regions_is_one_batch(tmp_path: Path) -> None:
    regions = mask(tmp_path / "m.png", "cat.png", (0, 0, 0), (255, 0, 0))
    variants = [
        *([f"style_loss={name}"] for name in ("gram", "moments", "wasserstein", "sliced", "nearest")),
        ["content_loss=self_similarity"],
        [BOTH, "images.style_weights=[0.7,0.3]"],
        [BOTH, "images.style_weights=[0.3,0.7]"],
        [BOTH, f"images.content_mask={regions}"],
    ]
    jobs = [
        Job(config(*SMALL, *more), tmp_path / str(number), tuple(more))
        for number, more in enumerate(variants)
    ]
    results = run_batch(jobs)
    assert [result.error for result in results] == [None] * len(jobs)
    assert {record(job.folder)["timings"]["batch_cells"] for job in jobs} == {len(jobs)}
    assert len({(job.folder / "losses.csv").read_bytes() for job in jobs}) == len(jobs)
    scores = [record(job.folder)["scores"]["style_distance"] for job in jobs]
    assert scores[6] != scores[7]
    one, several = (Image.open(tmp_path / folder / "style.png").size for folder in ("0", "6"))
    assert several == (one[0] + one[1], one[1])  # beside it the other, which is a square


def test_regions_are_numbered_from_dark_to_bright_and_have_their_shares(tmp_path: Path) -> None:
    path = mask(tmp_path / "m.png", "cat.png", (255, 255, 255), (0, 0, 90), (0, 90, 0))
    cell = resolve(
        config(*SMALL, f"images.style=[{STARS},{WAVE},{STARS}]", f"images.content_mask={path}")
    ).cell
    assert cell.content_mask is not None
    assert cell.content_mask.shape == cell.content.shape[1:]
    assert [int(row.unique()) for row in cell.content_mask] == sorted(
        (int(row[0]) for row in cell.content_mask), key=[2, 0, 1].index
    )
    shares = [(cell.content_mask == region).float().mean().item() for region in range(3)]
    assert cell.style_weights == pytest.approx(shares)


@pytest.mark.parametrize("fit", ["keep", "crop", "square"])
def test_a_mask_has_the_shape_of_its_image_and_no_colours_of_its_own(fit: str, tmp_path: Path) -> None:
    colours = (0, 0, 0), (255, 0, 0)
    mine = mask(tmp_path / "m.png", "cat.png", *colours, across=True)
    theirs = mask(tmp_path / "s.png", "starry_night.jpg", *colours)
    masks = f"images.content_mask={mine}", f"images.style_mask={theirs}"
    cell = resolve(config(*SMALL, *masks, f"images.fit={fit}", "size=31")).cell
    assert cell.content_mask is not None
    assert cell.style_mask is not None
    assert cell.content_mask.shape == cell.content.shape[1:]
    assert cell.style_mask.shape == cell.styles[0].shape[1:]
    assert cell.content_mask.unique().tolist() == cell.style_mask.unique().tolist() == [0, 1]


def test_what_of_styles_and_regions_makes_a_cell_another(tmp_path: Path) -> None:
    path = mask(tmp_path / "m.png", "cat.png", (0, 0, 0), (255, 0, 0))
    repainted = mask(tmp_path / "n.png", "cat.png", (9, 9, 9), (0, 255, 0))
    turned = mask(tmp_path / "t.png", "cat.png", (255, 0, 0), (0, 0, 0))

    def identity(*more: str) -> str | None:
        found = identity_of(config(*SMALL, *more))
        assert found is not None
        return found

    alike = [
        ([], [f"images.style=[{STARS}]"]),
        ([], ["images.style_weights=[3]"]),
        ([BOTH], [BOTH, "images.style_weights=[2,2]"]),
        ([BOTH, f"images.content_mask={path}"], [BOTH, f"images.content_mask={repainted}"]),
        (["mode=visualize_content", BOTH], ["mode=visualize_content", BOTH, f"images.content_mask={path}"]),
        (["style_loss=gram", "init_image=content"], ["style_loss=gram", "init_image=content", "seed=1"]),
    ]
    others = [
        ([BOTH], [f"images.style=[{WAVE},{STARS}]", "images.style_weights=[0.3,0.7]"]),
        ([BOTH], [BOTH, f"images.content_mask={path}"]),
        ([BOTH, f"images.content_mask={path}"], [BOTH, f"images.content_mask={turned}"]),
        (["style_loss=sliced", "init_image=content"], ["style_loss=sliced", "init_image=content", "seed=1"]),
        (["style_loss=sliced"], ["style_loss=sliced", "style_loss.directions=5"]),
    ]
    for first, second in alike:
        assert identity(*first) == identity(*second), (first, second)
    for first, second in others:
        assert identity(*first) != identity(*second), (first, second)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([BOTH, "images.style_weights=[1]"], "images.style_weights=[1.0]: 1 weights for 2 style images"),
        ([BOTH, "images.style_weights=[0,0]"], "images.style_weights=[0.0, 0.0]: one must be above 0"),
        (
            [BOTH, "images.style_weights=[1,-1]"],
            "images.style_weights[1]=-1.0: must be a finite number",
        ),
        (["images.style=[]"], "images.style=[]: must be a path, or a list of paths"),
        (["images.style=null"], "images.style=None: must be a path, or a list of paths"),
        (["images.style=[[a.png]]"], "images.style=[['a.png']]: must be a path, or a list of paths"),
        (["images.style_mask=m.png"], "images.style_mask=m.png: says nothing alone"),
        (
            [BOTH, "images.content_mask=m.png", "images.style_mask=m.png"],
            "images.style_mask=m.png: is of",
        ),
        (
            [BOTH, "images.content_mask=m.png", "images.style_weights=[1,1]"],
            "images.style_weights=[1.0, 1.0]: each region of images.content_mask has one style",
        ),
        (["style_loss=sliced", "style_loss.directions=0"], "style_loss.directions=0: must be at least 1"),
        (
            ["content_loss=self_similarity", "content_loss.positions=1"],
            "content_loss.positions=1: must be at least 2",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(overrides: list[str], says: str) -> None:
    assert refusal(*SMALL, *overrides).startswith(says)


@pytest.mark.parametrize(
    ("colours", "of", "style_colours", "says"),
    [
        ([(0, 0, 0)] * 2, "starry_night.jpg", None, "images.content_mask=MASK: is 726 x 574 pixels"),
        (
            [(0, 0, 0), (1, 0, 0), (2, 0, 0)],
            "cat.png",
            None,
            "images.content_mask=MASK: has 3 regions",
        ),
        (
            [(0, 0, n) for n in range(17)],
            "cat.png",
            None,
            "images.content_mask=MASK: has more than 16",
        ),
        (
            [(0, 0, 0), (1, 0, 0)],
            "cat.png",
            [(0, 0, 0)],
            "images.style_mask=OTHER: has nothing of #010000",
        ),
        (
            [(0, 0, 0)],
            "cat.png",
            [(0, 0, 0), (2, 0, 0)],
            "images.content_mask=MASK: has nothing of #020000",
        ),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_one_line(
    colours: list, of: str, style_colours: list | None, says: str, tmp_path: Path
) -> None:
    path = mask(tmp_path / "m.png", of, *colours)
    more, other = [BOTH], ""
    if style_colours:
        other = mask(tmp_path / "s.png", "starry_night.jpg", *style_colours)
        more = [f"images.style_mask={other}"]
    with pytest.raises(NstError) as raised:
        resolve(config(*SMALL, *more, f"images.content_mask={path}"))
    assert str(raised.value).startswith(says.replace("MASK", path).replace("OTHER", other))
    assert "\n" not in str(raised.value)


def test_a_style_that_is_missing_is_named_by_its_place() -> None:
    with pytest.raises(NstError, match=r"^images\.style\[1\]=nowhere\.png: no such file"):
        resolve(config(*SMALL, f"images.style=[{STARS},nowhere.png]"))
