"""Sweeps over the files of a folder: whatever their names, in natural order, a batch for each shape."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from support.composing import config

from nst.errors import NstError
from nst.execution.sweep_values import parse_swept, product
from nst.runs.job import Job, group_batches

SMALL = ("model=vgg16", "model.weights=random", "size=24", "iterations=2", "tracking=none")
LOADER: Any = SimpleNamespace(get_group_options=lambda group: [])
NAMES = [
    "2.png",
    "10.png",
    "a b, c.png",
    "it's.png",
    'say "x".png',
    "[1].png",
    "(x)=${y}.png",
    "päng%20.png",
    "back\\.png",
]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my photos"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        Image.new("RGB", (40, 40 if number % 2 else 30)).save(folder / name, format="PNG")
    (folder / "notes.txt").touch()
    return folder


@pytest.mark.parametrize(("key", "where"), [("images.content", "command line"), ("images.style", "preset")])
def test_each_file_is_a_cell(photos: Path, key: str, where: str) -> None:
    pattern = 'glob("my photos/*.png")'
    if where == "preset":
        cells = product(parse_swept({key: pattern}, []), LOADER)
    else:
        cells = product(parse_swept(None, [f"{key}={pattern}"]), LOADER)
    configs = [config(*SMALL, *cell) for cell in cells]
    paths = [getattr(one.images, key.partition(".")[2]) for one in configs]
    assert sorted(paths) == sorted(f"my photos/{name}" for name in NAMES)
    assert paths.index("my photos/2.png") < paths.index("my photos/10.png")


def test_those_of_a_shape_are_a_batch(photos: Path) -> None:
    cells = product(parse_swept(None, ['images.content=glob("my photos/*.png",exclude="*2*")']), LOADER)
    jobs = [Job(config(*SMALL, *cell), photos / str(number), ()) for number, cell in enumerate(cells)]
    assert sorted(map(len, group_batches(jobs, lambda some: 99))) == [3, 4]


def test_an_empty_match_is_one_line(photos: Path) -> None:
    with pytest.raises(NstError) as raised:
        product(parse_swept(None, ["images.content=glob(photos/*.jpg)"]), LOADER)
    assert str(raised.value).startswith("images.content=glob(photos/*.jpg): no such file in ")
