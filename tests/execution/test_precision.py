"""`hardware.precision=auto`: decided where a sweep starts, and then a precision as any other."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from support.composing import composed, config

from nst.config.schema import Precision
from nst.core.engine import fast_precision
from nst.execution.batch import run_batch
from nst.execution.device import decided
from nst.execution.resolve import identity_of
from nst.execution.runner import job_of
from nst.replay import _recorded
from nst.runs.record import RunRecord

SMALL = ("model=vgg16", "model.weights=random", "style_layers=conv1_1", "tracking=none", "size=24")


def has(monkeypatch: pytest.MonkeyPatch, *, avx: bool, amx: bool = False) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)


@pytest.mark.parametrize(
    ("avx", "amx", "chosen"), [(True, False, "bf16"), (False, True, "bf16"), (False, False, "fp32")]
)
def test_auto_is_bf16_where_the_processor_multiplies_it(
    avx: bool, amx: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, avx=avx, amx=amx)
    auto, given = config(*SMALL, "hardware.precision=auto"), config(*SMALL, f"hardware.precision={chosen}")
    assert decided(auto).hardware == given.hardware
    assert identity_of(decided(auto)) == identity_of(given)
    assert decided(given) is given
    assert auto.hardware.precision is Precision.auto


@pytest.mark.parametrize(("capability", "chosen"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_auto_is_bf16_on_cards_that_multiply_it(
    capability: tuple[int, int], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, avx=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fast_precision(torch.device("cuda")) == chosen


def test_jobs_are_made_with_it_decided_and_replayed_as_they_were_painted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, avx=True)
    overrides = [*SMALL, "iterations=2", "hardware.precision=auto"]
    hydra = composed(overrides, hydra=True).hydra
    job = job_of(composed(overrides), hydra, tmp_path / "0")
    [result] = run_batch([job])
    assert result.error is None
    run = RunRecord.read(result.folder)
    assert run.precision == "bf16"
    has(monkeypatch, avx=False)
    (result.folder / ".hydra").mkdir()
    OmegaConf.save(composed(overrides), result.folder / ".hydra/config.yaml")
    assert _recorded(result.folder, run).hardware.precision is Precision.bf16
