"""What a batch takes in memory, and what is done where that is short."""

from pathlib import Path

import pytest
from support.composing import config, refusal
from support.results import paint_here, pixels, record

from nst.errors import NstError
from nst.execution import device
from nst.execution.console import show_plan
from nst.execution.plan import plan
from nst.runs.job import Job

GIB = 2**30
LARGE = ["size=2048", "images.fit=square", "content_layers=conv4_2", "hardware.device=cpu"]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> "list[float]":
    """GiB that the machine is said to have free; a list, so that a test can change it."""
    found = [16.0]
    monkeypatch.setattr(device, "_free", lambda of: int(found[0] * GIB))
    return found


def test_recomputing_changes_neither_canvas_nor_losses(tmp_path: Path) -> None:
    overrides = ["content_layers=conv4_2", "images.fit=keep", "size=48", "optimizer=adam", "iterations=3"]
    found = []
    for recompute in ("false", "true"):
        results = paint_here(
            tmp_path / recompute,
            *([*overrides, more, f"hardware.recompute={recompute}"] for more in ("seed=0", "seed=1")),
        )
        assert [result.error for result in results] == [None, None]
        found.append([(pixels(r.folder).tobytes(), record(r.folder)["final"]) for r in results])
    assert found[0] == found[1]


def test_a_large_canvas_fits_by_recomputing(free: list[float]) -> None:
    adam = config(*LARGE, "optimizer=adam")
    lbfgs = config(*LARGE, "optimizer.history_size=20")
    for one in (adam, lbfgs):
        assert device.most_rows([one]) == 1
        assert device.memory([one]) < 16
    free[0] = 9
    assert device.recomputes([adam])
    assert device.most_rows([adam]) == 1
    free[0] = 20
    assert not device.recomputes([adam])
    assert device.recomputes([adam, adam])  # by hardware.max_batch=2
    assert not device.recomputes([config(*LARGE, "optimizer=adam", "hardware.recompute=false")])
    free[0] = 78
    assert device.most_rows([config(*LARGE, "size=4096", "images.fit=square")]) == 1


def test_a_canvas_that_cannot_fit_is_one_line_that_says_what_would(free: list[float]) -> None:
    with pytest.raises(NstError) as error:
        device.most_rows([config(*LARGE, "size=8192")])
    said = str(error.value)
    assert said.startswith("size=8192: one canvas needs about ")
    assert said.endswith("give a smaller size, or a shorter history, as with optimizer.history_size=20")
    with pytest.raises(NstError, match=r"give a smaller size$"):
        device.most_rows([config(*LARGE, "size=8192", "optimizer=adam")])


def test_the_plan_says_what_it_takes(
    free: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Job(
        config(*LARGE, "model=vgg16", "model.weights=random", f"outputs={tmp_path}"), tmp_path / "0", ()
    )
    for size, said in ((17, "GiB, recomputing activations"), (100, "GiB")):
        free[0] = size
        show_plan(plan([job]))
        [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("batch 1:")]
        assert line.endswith(said)


def test_any_network_of_torchvision_paints(tmp_path: Path) -> None:
    overrides = ["model=torchvision", "model.weights=random", "size=48", "optimizer=adam", "iterations=3"]
    [one, two] = paint_here(tmp_path, [*overrides, "seed=0"], [*overrides, "style_layers=features.3"])
    assert [one.error, two.error] == [None, None]
    assert record(one.folder)["model"]["name"] == "squeezenet1_1"
    header = (one.folder / "losses.csv").read_text().splitlines()[0]
    assert header.endswith("content/features.6," + ",".join(f"style/features.{n}" for n in (1, 3, 4, 6, 7)))
    [alone] = paint_here(tmp_path / "alone", [*overrides, "style_layers=features.3"])
    assert (pixels(alone.folder) == pixels(two.folder)).all()


def test_sizes_that_a_network_does_not_take_are_refused() -> None:
    said = refusal("model=torchvision", "style_layers=features.12", "size=10")
    assert said.startswith("model.name=squeezenet1_1: does not take an image of 10 x 10")
