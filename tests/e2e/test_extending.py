"""Options from outside this repository: those of docs/extending.md, and ones that will not do."""

import re
from pathlib import Path

import pytest
import torch
from support.cells import image, network
from support.command import Ended, command
from support.composing import config, refusal
from support.results import record

from nst.config.paths import ROOT
from nst.core.cell import Cell
from nst.core.losses import MSE, FeatureLoss, Gram
from nst.core.objective import Objective
from nst.core.optimizers import OptimizerConfig
from nst.core.options import Option
from nst.errors import NstError
from nst.execution.device import most_rows
from nst.execution.resolve import identity_of

SMALL = [
    "model=vgg16",
    "model.weights=random",
    "size=24",
    "iterations=3",
    "save_every=2",
    "hardware.device=cpu",
]
ALL = ["optimizer=momentum", "style_loss=variances", "content_loss=huber", "init_image=flat"]
# Of cells before there was a choice of losses, but for bf16: what is finished stays so.
IDENTITIES = {
    (): "35a867ae1f130c5ecee33238ff8c10179c2779e6e5bc6dadf341b53ff4bf1c4d",
    ("optimizer=adam",): "e4e20bc0e46a6b49dc76fc04909e220cea76fe64141fff10aed47e4aa68f0381",
    ("init_image=content",): "69222acecb5ce662a54ffb9d96d4588b50338b40818e1d1e8dd18928fa4ac45d",
    ("init_image=style", "optimizer.lr=0.5"): (
        "01223e889b99de0cd887233cbf35e658eb2800591d909cc70ce333711e74ce95"
    ),
    ("mode=visualize_content", "seed=3"): "18efa033c7d9fbfe13e888c3594504801c9ce124a89494b70bec732c2f15668f",
    ("hardware.precision=bf16", "activation=conv", "model.normalize=true"): (
        "82743742ea02b772f4401a8ee88b2955f1c9fe6619039a15fae668d6e35c9d46"
    ),
}


def test_the_identities_of_finished_cells_stay() -> None:
    cell = ("model=vgg16", "model.weights=random", "size=24", "iterations=4", "save_every=1", "tracking=none")
    assert {more: identity_of(config(*cell, *more)) for more in IDENTITIES} == IDENTITIES


@pytest.fixture(scope="module")
def extras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that docs/extending.md describes."""
    folder = tmp_path_factory.mktemp("outside") / "extras"
    blocks = re.findall(
        r"```(?:yaml|python)\n# (\S+)\n(.*?)```", (ROOT / "docs/extending.md").read_text(), re.DOTALL
    )
    assert len(blocks) == 5
    for name, text in blocks:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def painted(extras: Path, folder: Path, *arguments: str) -> Ended:
    known = {"PYTHONPATH": str(extras), "COLUMNS": "300"}
    return command(folder, "--config-dir", str(extras), *arguments, **known)


def test_options_from_outside_paint_end_to_end(extras: Path, tmp_path: Path) -> None:
    grid = ["-m", *SMALL, "optimizer=momentum,adam", "style_loss=gram,variances", "content_loss=huber"]
    grid += ["init_image=flat", "optimizer.lr=0.02", "hydra.sweep.dir=outputs/sweep", "tracking=none"]
    done = painted(extras, tmp_path, *grid)
    assert done.code == 0, done.err
    runs = [tmp_path / "outputs/sweep" / str(number) for number in range(4)]
    records = [record(run) for run in runs]
    assert {found["status"] for found in records} == {"finished"}
    assert len({found["identity"] for found in records}) == 4
    assert [found["name"] for found in records][:2] == [
        "optimizer=momentum style_loss=gram",
        "optimizer=momentum style_loss=variances",
    ]
    # An optimizer a batch; losses differ from row to row.
    assert [found["timings"]["batch_cells"] for found in records] == [2] * 4
    for run in runs:
        totals = [float(line.split(",")[1]) for line in (run / "losses.csv").read_text().splitlines()[1:]]
        assert totals[-1] < totals[0]
    again = painted(extras, tmp_path, *[part.replace("/sweep", "/second") for part in grid])
    assert "4 of 4 cells were painted before" in again.err, again.err
    other = painted(extras, tmp_path, *grid, "init_image.level=0.4", "plan=true")
    assert "4 cells: 0 painted before" in other.out, other.err


def test_help_and_refusals_know_them(extras: Path, tmp_path: Path) -> None:
    told = painted(extras, tmp_path, "--help").out
    assert re.search(r"optimizer: adam, lbfgs, momentum\b", told)
    assert re.search(r"style_loss: gram, .*variances\b", told)
    for arguments, says in (
        (["optimizer.momentum=1"], "error: optimizer.momentum=1.0: allowed are 0 to 1, without 1"),
        (["optimizer.momentum=much"], "error: optimizer.momentum=much: "),
        (["optimizer.speed=1"], "error: optimizer.speed=1: no such key; allowed are "),
        (
            ["+optimizer.speed=1"],
            "error: optimizer.speed=1: no such key; allowed are optimizer.name, optimizer.lr",
        ),
        (["optimizer._target_=extras.Variances"], "error: optimizer._target_=extras.Variances: is no "),
        (
            ["optimizer._target_=nowhere.Momentum"],
            "error: optimizer._target_=nowhere.Momentum: cannot be imported",
        ),
    ):
        ended = painted(extras, tmp_path, *SMALL, "tracking=none", *ALL, *arguments)
        assert ended.code == 2
        [line] = ended.err.splitlines()
        assert line.startswith(says)
    assert not (tmp_path / "outputs").exists()


def test_of_built_in_options_unknown_ones_and_wrong_settings_are_refused() -> None:
    assert refusal("optimizer.name=sgd").startswith("optimizer=sgd: allowed are adam, lbfgs")
    assert refusal("style_loss=grams").startswith(
        "style_loss=grams: no such option; did you mean gram? allowed"
    )
    assert refusal("optimizer.lr=fast").startswith("optimizer.lr=fast: ")
    with pytest.raises(NstError, match=r"optimizer=adam: is nst\.core\.optimizers\.adam already"):
        type("Mine", (OptimizerConfig,), {"name": "adam", "__module__": "mine"})


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_autograd_gives_what_is_written_by_hand(dtype: torch.dtype) -> None:
    class ByAutograd(Gram):
        def value(self, features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            difference = (self.target(features) - target).flatten(1)
            return difference.square().sum(1) / (4 * features.shape[1] ** 3)

        term = FeatureLoss.term

    class Plain(MSE):
        def value(self, features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return (features - target).square().flatten(1).mean(1)

        term = FeatureLoss.term

    def cells(*losses: Option) -> list[Cell]:
        images, layers = (image(0, 16), (image(1, 16),)), {"conv2_1": 1.0, "conv3_1": 0.5}
        return [
            Cell(*images, layers, layers, activation, 5.0, 7000.0, 1.2, *losses)
            for activation in ("conv", "relu", "conv")
        ]

    canvas = torch.stack([image(seed, 16) for seed in (5, 6, 7)]).to(torch.float64)
    found = []
    for some in (cells(), cells(Plain(), ByAutograd())):
        net = network("vgg16", some, dtype)
        found.append(Objective(net, some)(canvas.to(net.wide)))
    for hand, auto in zip(*found, strict=True):
        assert (auto - hand).norm() < (1e-12 if dtype == torch.float64 else 2e-2) * hand.norm()


def test_what_autograd_keeps_counts_as_memory(extras: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = config(*SMALL, "size=512", "content_layers=conv1_1", "optimizer=adam")
    rows = most_rows([base])
    monkeypatch.setattr(MSE, "copies", 40.0)
    assert most_rows([base]) < rows or rows == 1
