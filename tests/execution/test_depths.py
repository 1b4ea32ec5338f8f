"""Cells of different depths in one batch: the deepest first, and each costs what it needs."""

from pathlib import Path

import pytest
from support.composing import config

from nst.execution.device import gflop
from nst.runs.job import Job, group_batches

LAYERS = ("conv1_1", "conv5_1", "conv3_1", "conv3_2")


def test_a_batch_has_the_deepest_first_and_costs_what_its_cells_cost(tmp_path: Path) -> None:
    each = [config("model=vgg16", "mode=visualize_style", f"style_layers={layer}") for layer in LAYERS]
    jobs = [Job(cell, tmp_path / layer, ()) for layer, cell in zip(LAYERS, each, strict=True)]
    [batch] = group_batches(jobs, lambda configs: 9)
    assert [job.folder.name for job in batch] == ["conv5_1", "conv3_2", "conv3_1", "conv1_1"]
    together = gflop("vgg16", [job.config for job in batch])
    assert together == pytest.approx(sum(gflop("vgg16", [cell]) for cell in each))
    assert together < 2 * gflop("vgg16", [batch[0].config])


def test_another_network_is_passed_by_all_to_the_deepest() -> None:
    each = [
        config(
            "model=torchvision",
            "model.name=squeezenet1_1",
            "mode=visualize_style",
            f"style_layers=features.{n}",
            "weights.style_layers=[1]",
        )
        for n in (1, 6)
    ]
    alone = gflop("squeezenet1_1", each[1:])
    assert gflop("squeezenet1_1", each) == 2 * alone > 2 * gflop("squeezenet1_1", each[:1])
