"""What a newcomer paints first is a painting, by the scores of real VGG-16 features."""

from pathlib import Path

import pytest
from support.composing import config

from nst.execution.batch import run_batch
from nst.io.files import read_json
from nst.runs.job import Job


def scores(folder: Path, *cells: tuple[str, ...]) -> list[dict[str, float]]:
    """LPIPS to the content and style distance of each cell, painted together."""
    jobs = [
        Job(config("model=vgg16", "hardware.device=cpu", f"outputs={folder}", *cell), folder / f"{n}", cell)
        for n, cell in enumerate(cells)
    ]
    assert [result.error for result in run_batch(jobs)] == [None] * len(jobs)
    return [read_json(job.folder / "run.json")["scores"] for job in jobs]


def test_paint_has_the_content_and_the_style(tmp_path: Path) -> None:
    small = ("experiment=paint", "size=48", "iterations=25", "save_every=25")
    # The content image itself has LPIPS 0; the style image has style distance 0 and LPIPS 0.8.
    light, strong = scores(tmp_path, (*small, "weights.style=1e5"), (*small, "weights.style=1e7"))
    assert light["lpips_content"] < strong["lpips_content"] < 0.75
    assert strong["style_distance"] < light["style_distance"] < 1


def test_features_after_the_relu_paint_what_those_before_it_do_not(tmp_path: Path) -> None:
    """The README's canvases are reproduced by `activation=relu`, which is the default, alone."""
    cell = ("size=48", "iterations=70", "content_layers=conv2_1", "save_every=70")
    conv, relu = scores(tmp_path, (*cell, "activation=conv"), cell)
    assert relu["lpips_content"] < conv["lpips_content"] - 0.1


@pytest.mark.slow  # 1500 iterations
def test_adam_from_noise_paints_the_pagoda(tmp_path: Path) -> None:
    cell = ("experiment=readme/noise_adam", "content_layers=conv2_1", "size=64", "iterations=1500")
    [found] = scores(tmp_path, cell)
    assert found["lpips_content"] < 0.55
