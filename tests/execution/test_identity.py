"""What makes two cells the same: all that decides pixels and scores, and nothing else."""

import os
import shutil
from pathlib import Path

import imageio.v3 as imageio
import pytest
from support.composing import config

from nst.config.paths import ROOT
from nst.execution.batch import run_batch
from nst.execution.plan import plan
from nst.execution.resolve import identity_of
from nst.execution.runner import paint_together
from nst.io.video import decode
from nst.runs.job import Job
from nst.runs.record import RunRecord, find_damage

SMALL = ("model=vgg16", "model.weights=random", "size=24", "iterations=4", "save_every=1", "tracking=none")
ALIKE = {
    "the seed where nothing is drawn": (["init_image=content"], ["seed=1"]),
    "the rate of the video": ([], ["fps=2"]),
    "the style's weight where there is no style": (["mode=visualize_content"], ["weights.style=1"]),
    "the style layers where there is no style": (["mode=visualize_content"], ["style_layers=conv2_1"]),
    "the content's weight where there is no content": (["mode=visualize_style"], ["weights.content=1"]),
    "the content layers where there is no content": (["mode=visualize_style"], ["content_layers=conv3_1"]),
    "weights by position that no layer has": (
        ["style_layers=conv1_1"],
        ["weights.style_layers=[3.90625,9,9,9,9]"],
    ),
    "the order of layers": (["content_layers=[conv1_1,conv2_1]"], ["content_layers=[conv2_1,conv1_1]"]),
    "what is said of it": ([], ["name=Blue", "tags=[sky]", "notes=more"]),
    "the network's own pooling and padding": ([], ["model.pooling=max", "model.padding=zeros"]),
    "the usual history": ([], ["optimizer.history_size=100"]),
    "what is recomputed": ([], ["hardware.recompute=true"]),
    "how it is painted": ([], ["hardware.max_batch=1", "hardware.checkpoint=9", "outputs=elsewhere"]),
}
OTHERS = {
    "the pooling": ([], ["model.pooling=average"]),
    "the padding": ([], ["model.padding=replicate"]),
    "a shorter history": ([], ["optimizer.history_size=5"]),
    "the seed of noise": ([], ["seed=1"]),
    "the activation": ([], ["activation=conv"]),
    "the size": ([], ["size=26"]),
    "the frames": ([], ["save_every=2"]),
    "the iterations": ([], ["iterations=5"]),
    "the precision": ([], ["hardware.precision=bf16"]),
    "the learning rate": ([], ["optimizer.lr=0.5"]),
    "the optimizer": ([], ["optimizer=adam"]),
    "the initial image": ([], ["init_image=style"]),
    "the normalisation": ([], ["model.normalize=true"]),
    "total variation": ([], ["weights.tv=2"]),
    # Its pixels are the same, its style distance is not.
    "the style image where there is no style": (
        ["mode=visualize_content"],
        ["mode=visualize_content", f"images.style={ROOT}/data/mosaic.png"],
    ),
}


@pytest.mark.parametrize("name", [*ALIKE, *OTHERS])
def test_what_a_cell_is(name: str) -> None:
    base, more = {**ALIKE, **OTHERS}[name]
    first, second = (identity_of(config(*SMALL, *overrides)) for overrides in (base, [*base, *more]))
    assert first is not None
    assert (first == second) is (name in ALIKE)


def test_another_rate_of_the_video_paints_nothing(tmp_path: Path) -> None:
    def job(folder: str, fps: int) -> Job:
        return Job(config(*SMALL, f"outputs={tmp_path}", f"fps={fps}"), tmp_path / folder, (f"fps={fps}",))

    first, second = paint_together([job("a/0", 30), job("a/1", 2)])
    [third] = paint_together([job("b/0", 5)])
    assert [first.taken_from, second.taken_from, third.taken_from] == [None, first.folder, first.folder]
    frames = [pixels.tobytes() for pixels in decode(first.folder / "canvas.mp4")]
    for result, fps in ((first, 30), (second, 2), (third, 5)):
        video, record = result.folder / "canvas.mp4", RunRecord.read(result.folder)
        assert imageio.immeta(video, plugin="FFMPEG")["fps"] == fps
        assert [pixels.tobytes() for pixels in decode(video)] == frames
        assert record.fps == fps
        assert find_damage(result.folder, record) is None


@pytest.mark.parametrize("kind", ["content", "style"])
def test_a_picture_that_is_replaced_after_the_plan_fails_its_cell(kind: str, tmp_path: Path) -> None:
    picture = Path(shutil.copy(ROOT / "data/cat.png", tmp_path / "mine.png"))
    configs = [config(*SMALL, f"outputs={tmp_path}", f"images.{kind}={picture}"), config(*SMALL, "seed=1")]
    planned = plan([Job(one, tmp_path / str(number), ("x",)) for number, one in enumerate(configs)])
    shutil.copy(ROOT / "data/mosaic.png", picture)
    os.utime(picture, (1, 1))
    found = [result.error for batch in planned.batches for result in run_batch(batch)]
    assert found[0] is not None
    assert found[0].startswith(f"images.{kind}={picture}: is another picture than when this was planned")
    assert found[1] is None
