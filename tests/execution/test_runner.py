"""How the jobs of a sweep become batches, and what happens when a batch does not fit."""

from pathlib import Path

import pytest
import torch
from support.composing import config

from nst.errors import NstError
from nst.execution.device import MOST_ROWS, most_rows
from nst.execution.executors import base
from nst.execution.runner import paint_together
from nst.runs.job import Job, Result, group_batches


def job(number: int, *overrides: str) -> Job:
    return Job(config("tracking=none", "model=vgg16", *overrides), Path(f"/nowhere/{number}"), overrides)


def test_jobs_that_can_share_a_step_are_batched():
    jobs = [
        job(0, "optimizer=adam"),
        job(1, "optimizer=lbfgs"),
        job(2, "optimizer=adam", "content_layers=conv4_1", "activation=relu", "init_image=content"),
        job(3, "optimizer=adam", "iterations=7"),
        job(4, "optimizer=adam", "size=64"),
        job(5, "optimizer=adam", "optimizer.lr=0.5", "images=cat_mosaic", "weights.style=1"),
    ]
    cut = group_batches(jobs, lambda configs: 99)
    assert [[job.folder.name for job in batch] for batch in cut] == [
        ["0", "5", "2"],
        ["1"],
        ["3"],
        ["4"],
    ]  # the first two read the same layers


def test_no_batch_is_larger_than_what_fits():
    jobs = [job(number, f"seed={number}") for number in range(7)]
    assert [len(batch) for batch in group_batches(jobs, lambda configs: 3)] == [3, 3, 1]


def test_max_batch_is_obeyed_and_a_canvas_that_cannot_fit_is_refused():
    assert most_rows([job(0, "hardware.max_batch=2").config]) == 2
    assert 10 < most_rows([job(0, "size=32").config]) <= MOST_ROWS
    tiny = job(0, "size=2", "content_layers=conv1_1", "style_layers=conv1_1").config
    assert most_rows([tiny]) == MOST_ROWS
    with pytest.raises(NstError, match=r"size=100000: one canvas needs about .* GiB"):
        most_rows([job(0, "size=100000").config])


def test_a_batch_that_does_not_fit_is_halved_until_it_does(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # where nothing was painted before
    tried = []

    def run_batch(jobs, watch):
        tried.append(len(jobs))
        if len(jobs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return [Result(job.folder, job.name, 1.0, None) for job in jobs]

    monkeypatch.setattr(base, "run_batch", run_batch)
    jobs = [job(number, f"seed={number}") for number in range(7)]
    results = paint_together(jobs)
    assert tried == [7, 3, 1, 2, 4, 2, 2]
    assert [result.folder for result in results] == [job.folder for job in jobs]
    assert [result.error for result in results] == [None] * 7
