"""What a sweep varied: its axes, how their values are written, and how many of them go down."""

import itertools
from pathlib import Path

import pytest
from support.rundirs import make_sweep

from nst.io.text import as_written
from nst.report.contact_sheet import APART, GAP, lay_out
from nst.report.grid import Axis, Inputs, grid
from nst.report.page.section import one_cell


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("1000000.0", "1e6"),
        ("1e4", "1e4"),
        ("7000.0", "7000"),
        ("0.060", "0.06"),
        ("1e-05", "1e-5"),
        ("123456789", "123456789"),
        ("-2500000", "-2.5e6"),
        ("0", "0"),
        ("nan", "nan"),
        ("adam", "adam"),
        ("a  b\nc", "a b c"),
        ("${root:data/cat.png}", "data/cat.png"),
    ],
)
def test_values_read_as_people_write_them(value: str, written: str) -> None:
    assert as_written(value) == written


def sweep(folder: Path, *keys: str, status: str = "finished") -> Path:
    """The product of keys with their values, of one iteration each."""
    options = [
        [f"{key}={value}" for value in values.split(",")] for key, values in (k.split("=") for k in keys)
    ]
    jobs = [list(job) for job in itertools.product(*options)]
    return make_sweep(folder, "product", jobs, size=16, iterations=1, status=status)


def test_numbers_ascend_and_other_values_are_in_the_order_given(tmp_path: Path) -> None:
    found = grid(sweep(tmp_path / "s", "optimizer=lbfgs,adam", "weights.style=1e6,20,100.0"))
    assert [axis.labels for axis in found.axes] == [["lbfgs", "adam"], ["20", "100", "1e6"]]
    assert [axis.numeric for axis in found.axes] == [False, True]
    numbers = [[int(run.folder.name) for run in row if run] for row in found.runs]
    assert numbers == [[1, 2, 0], [4, 5, 3]]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["/a b/cat.png", "/a b/c/pagoda.jpg"], ["cat.png", "pagoda.jpg"]),
        (["${root:data/cat.png}", "dog.png"], ["cat.png", "dog.png"]),
        (["x/cat.png", "y/cat.png"], ["x/cat.png", "y/cat.png"]),  # the names do not tell them apart
        (["[x/a.png,y/b.png]", "x/a.png"], ["[a.png,b.png]", "a.png"]),
    ],
)
def test_files_are_told_by_their_names(values: list[str], labels: list[str]) -> None:
    found = Axis.of("images.style", values)
    assert (found.values, found.labels) == (values, labels)
    assert Axis.of("experiment", ["readme/a", "b"]).labels == ["readme/a", "b"]


@pytest.mark.parametrize(
    ("keys", "rows", "columns"),
    [
        (("seed=1,2",), 1, 2),
        (("optimizer=adam,lbfgs", "seed=1,2,3"), 2, 3),
        (("optimizer=adam,lbfgs", "seed=1,2", "fps=1,2,3,4,5"), 4, 5),
        (("optimizer=adam,lbfgs", "fps=1,2", "seed=1,2", "weights.tv=1,2", "weights.content=1,2"), 4, 8),
    ],
)
def test_several_keys_are_neither_very_high_nor_very_wide(
    tmp_path: Path, keys: tuple[str, ...], rows: int, columns: int
) -> None:
    found = grid(sweep(tmp_path / "s", *keys, status="failed"))  # without canvases, which take long
    assert (len(found.rows), len(found.columns)) == (rows, columns)
    assert all(run for row in found.runs for run in row)


def test_a_sheet_of_three_keys_is_nested(tmp_path: Path) -> None:
    sheet = lay_out(grid(sweep(tmp_path / "s", "optimizer=adam,lbfgs", "fps=5,6", "seed=1,2")))
    lines = [text.line for text in sheet.texts]
    assert [lines.count(label) for label in ("adam", "lbfgs", "5", "6", "1", "2")] == [1, 1, 1, 1, 2, 2]
    assert len(sheet.rules) == 2
    x = sorted({x for x, _, _ in sheet.cells})
    step = sheet.box[0] + GAP
    assert [later - earlier for earlier, later in itertools.pairwise(x)] == [step, step + APART, step]
    for left, y, right, _ in sheet.rules:
        assert y < min(top for _, top, _ in sheet.cells)
        assert left in x
        assert right + 1 - sheet.box[0] in x


@pytest.mark.parametrize(
    ("command", "head"),
    [
        ("python run.py -m seed=1,2", ["python", "run.py"]),
        ("nst --multirun --config-dir=my x=1", ["nst", "--config-dir=my"]),
        ("nst -m seed=1 --config-dir 'a b' -cn=c", ["nst", "--config-dir", "a b", "-cn=c"]),
        ("", ["python", "run.py"]),
        ("it's broken", ["python", "run.py"]),
    ],
)  # fmt: skip
def test_a_cell_is_painted_by_the_program_of_its_sweep(command: str, head: list[str]) -> None:
    assert one_cell(command) == head


def test_weights_of_styles_are_no_other_images(tmp_path: Path) -> None:
    jobs = [[f"images.style_weights={weights}"] for weights in ("[1,0]", "[0,1]")]
    found = grid(make_sweep(tmp_path / "sweep", "blend", jobs, size=16, iterations=1))
    assert found.column_labels == ["[1,0]", "[0,1]"]
    assert Inputs.of(found.runs).vary == "shared"
    others = [[f"images.content={name}"] for name in ("a.jpg", "b.jpg")]
    found = grid(make_sweep(tmp_path / "others", "others", others, size=16, iterations=1))
    assert Inputs.of(found.runs).vary == "columns"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("images.style_scale", "images.style_scale"),
        ("optimizer.history_size", "optimizer.history_size"),
        ("style_loss", "style loss"),
        ("optimizer.lr", "learning rate"),
    ],
)
def test_an_axis_is_named_by_words_or_by_its_key(key: str, said: str, tmp_path: Path) -> None:
    jobs = [[f"{key}=1"], [f"{key}=2"]]
    assert grid(make_sweep(tmp_path / "sweep", "axis", jobs, size=16, iterations=1)).column_axis == said
