"""`hardware.precision=auto`: decided where a sweep starts, and then a precision as any other."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from support.composing import composed, config

from nst.config.schema import Precision
from nst.execution.batch import run_batch
from nst.execution.device import decided
from nst.execution.resolve import identity_of
from nst.execution.runner import job_of
from nst.replay import _recorded
from nst.runs.record import RunRecord

SMALL = ("model=vgg16", "model.weights=random", "style_layers=conv1_1", "tracking=none", "size=24")


def has(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] | None) -> None:
    """A machine with such a card, or none."""
    device = torch.device("cuda" if capability else "cpu")
    monkeypatch.setattr("nst.execution.device.device_of", lambda config: device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)


@pytest.mark.parametrize(
    ("capability", "chosen"), [(None, "fp32"), ((7, 5), "fp32"), ((8, 0), "tf32"), ((9, 0), "tf32")]
)
def test_auto_is_tf32_on_cards_that_have_it(
    capability: tuple[int, int] | None, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, capability)
    auto, given = config(*SMALL, "hardware.precision=auto"), config(*SMALL, f"hardware.precision={chosen}")
    found = decided(auto)
    assert decided(given) is given
    monkeypatch.undo()
    assert found.hardware == given.hardware
    assert identity_of(found) == identity_of(given)
    assert auto.hardware.precision is Precision.auto


def test_jobs_are_made_with_it_decided_and_replayed_as_they_were_painted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, None)
    overrides = [*SMALL, "iterations=2", "hardware.precision=auto"]
    hydra = composed(overrides, hydra=True).hydra
    job = job_of(composed(overrides), hydra, tmp_path / "0")
    [result] = run_batch([job])
    assert result.error is None
    run = RunRecord.read(result.folder)
    assert run.precision == "fp32"
    (result.folder / ".hydra").mkdir()
    OmegaConf.save(composed(overrides), result.folder / ".hydra/config.yaml")
    assert _recorded(result.folder, run).hardware.precision is Precision.fp32
