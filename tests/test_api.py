"""The public API: what a notebook does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.results import paint_here, pixels, record

import nst
from nst.config.paths import ROOT
from nst.core.init_images import noise
from nst.errors import NstError
from nst.io.fit import Fit
from nst.io.images import read, to_uint8
from nst.io.video import decode
from nst.io.weights import load_scorer

SMALL = {"size": 24, "iterations": 4, "model": "vgg16", "weights": "random", "device": "cpu"}
CAT, STARS = ROOT / "data/cat.png", ROOT / "data/starry_night.jpg"
README = (3.90625, 0.9765625, 0.06103515625, 0.0152587890625, 0.003814697265625)


LAZY = "import sys, nst; assert 'torch' not in sys.modules\n"
NEEDED = "\nnst.load_run; print({'hydra', 'omegaconf', 'mlflow', 'matplotlib'} & set(sys.modules))"


def test_its_names_are_there() -> None:
    assert set(nst.__all__) <= set(dir(nst))
    with pytest.raises(AttributeError, match="no attribute 'pain'"):
        nst.pain  # noqa: B018


@pytest.mark.e2e
def test_the_example_of_the_docs_needs_neither_hydra_nor_mlflow_nor_matplotlib(tmp_path: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/library.md").read_text(), re.DOTALL)
    example = example.replace('"data/', f'"{ROOT}/data/').replace(
        "size=64, iterations=20", "size=32, iterations=3"
    )
    code = LAZY + example + NEEDED
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "3 of 3" in run.stdout
    assert run.stdout.endswith("\nset()\n")
    assert run.stdout.count("lpips_content=") == 3
    for name in ("100000.png", "1e+06.png"):
        assert Image.open(tmp_path / name).size == (32, 21)


def test_a_batch_of_different_cells_is_painted_as_each_alone() -> None:
    cat, stars = read(CAT, 24, "x", Fit.keep), read(STARS, 24, "x")
    cells = [
        nst.Cell(CAT, STARS),
        nst.Cell(cat, stars, optimizer="adam", init="noise", seed=3, activation="conv", lr=0.1),
        nst.Cell(CAT, CAT, content_layers=(), style_layers={"conv3_1": 2.0}, init=noise((16, 24), 5)),
        nst.Cell(CAT, cat, optimizer="adam", style_layers="conv1_1", init="style"),
    ]
    seen = list[nst.IterationInfo]()
    together = nst.paint(cells, **SMALL, callback=seen.append, frame_every=2)
    for cell, painting in zip(cells, together, strict=True):
        assert painting.cell is cell
        [alone] = nst.paint(cell, **SMALL)
        assert torch.equal(alone.canvas, painting.canvas)
        assert alone.losses.keys() == painting.losses.keys()
        assert all(torch.equal(alone.losses[name], painting.losses[name]) for name in alone.losses)
        assert len(painting.losses["total"]) == 4
        assert painting.image.size == (24, 16)
    assert list(together[2].losses) == ["total", "content", "style", "tv", "style/conv3_1"]
    # By optimizer, each with frames 0, 2 and the last.
    framed = [info for info in seen if info.canvases is not None]
    assert [(info.iteration, info.cells) for info in framed] == [
        *((n, [0, 2]) for n in (1, 3, 4)),
        *((n, [1, 3]) for n in (1, 3, 4)),
    ]
    assert torch.equal(framed[2].canvases[1], together[2].canvas)
    assert torch.equal(framed[0].canvases[1], noise((16, 24), 5))
    latest = {name: values[-1].item() for name, values in together[2].losses.items()}
    assert framed[2].losses[1] == latest
    assert {info.iterations for info in seen} == {4}


def test_colours_are_those_that_run_py_paints(tmp_path: Path) -> None:
    overrides = ["size=24", "iterations=2", "save_every=1", "style_layers=conv1_1", "content_layers=conv1_1"]
    overrides += ["init_image=content", f"images.content={CAT}", f"images.style={STARS}"]
    cells = [
        nst.Cell(
            CAT,
            STARS,
            content_layers="conv1_1",
            style_layers={"conv1_1": README[0]},
            style_weight=7000.0,
            tv_weight=1.2,
            color=color,
        )
        for color in ("luminance", "histogram")
    ]
    seen: list[torch.Tensor] = []
    paintings = nst.paint(
        cells,
        **{**SMALL, "iterations": 2},
        normalize=False,
        padding="zeros",
        callback=lambda info: None if info.canvases is None else seen.append(info.canvases),
    )
    for painting, color in zip(paintings, ("luminance", "histogram"), strict=True):
        [result] = paint_here(tmp_path / color, [*overrides, f"color={color}"])
        assert result.error is None
        assert (pixels(result.folder) == to_uint8(painting.canvas)).all()
    content = read(CAT, 24, "x", Fit.keep)
    assert torch.allclose(seen[0][0], content, atol=1e-6)  # in colour, though painted in one channel


def test_regions_and_transparency_are_those_that_run_py_paints(tmp_path: Path) -> None:
    """A mask as a file and as a tensor, with a style image a region and with a style mask."""
    labels = torch.zeros(8, 12, dtype=torch.int64)
    labels[:, 7:] = 2
    content = torch.randint(0, 256, (8, 12, 4), generator=torch.Generator().manual_seed(0)).byte()
    Image.fromarray(content.numpy()).save(tmp_path / "content.png")
    Image.fromarray((labels * 100).byte().numpy()).save(tmp_path / "mask.png")
    style = read(STARS, 32, "x", Fit.square)
    Image.fromarray(to_uint8(style)).save(tmp_path / "style.png")
    halves = (torch.arange(32) < 10).int().expand(32, 32) * 2
    Image.fromarray((halves * 100).byte().numpy()).save(tmp_path / "style_mask.png")
    layers = {"content_layers": "conv1_1", "style_layers": {"conv1_1": README[0]}}
    weights = {"style_weight": 7000.0, "tv_weight": 1.2, "optimizer": "adam"}
    files = tmp_path / "content.png", tmp_path / "style.png"
    cells = [
        nst.Cell(
            files[0],
            [*files[1:], CAT],
            content_mask=tmp_path / "mask.png",
            transparency="keep",
            **layers,
            **weights,
        ),
        nst.Cell(*files, content_mask=labels, style_mask=halves, **layers, **weights),
    ]
    options = {**SMALL, "iterations": 2, "size": 24, "scales": "single"}
    paintings = nst.paint(cells, **options, normalize=False, padding="zeros")
    shared = [f"images.content={files[0]}", f"images.content_mask={tmp_path / 'mask.png'}", "size=24"]
    shared += ["iterations=2", "save_every=1", "style_layers=conv1_1", "content_layers=conv1_1"]
    shared += ["init_image=content", "optimizer=adam"]
    others = (
        [f"images.style=[{files[1]},{CAT}]", "images.transparency=keep"],
        [f"images.style={files[1]}", f"images.style_mask={tmp_path / 'style_mask.png'}"],
    )
    for name, painting, more in zip("ab", paintings, others, strict=True):
        [result] = paint_here(tmp_path / name, [*shared, *more])
        assert result.error is None
        with Image.open(result.folder / "canvas.png") as image:
            assert image.mode == painting.image.mode
            assert image.tobytes() == painting.image.tobytes()
    assert [painting.image.mode for painting in paintings] == ["RGBA", "RGB"]
    plain = nst.paint(nst.Cell(*files, **layers, **weights), **options, normalize=False, padding="zeros")
    assert not torch.equal(plain[0].canvas, paintings[1].canvas)


def test_another_network_paints_by_its_own_layers() -> None:
    cell = nst.Cell(CAT, STARS, content_layers="features.6", style_layers=["features.4", "features.1"])
    [painting] = nst.paint(cell, **{**SMALL, "model": "squeezenet1_1"})
    assert list(painting.losses)[4:] == ["content/features.6", "style/features.1", "style/features.4"]
    weighted = 3.90625 * painting.losses["style/features.1"] + 0.9765625 * painting.losses["style/features.4"]
    torch.testing.assert_close(painting.losses["style"], weighted)


def test_pooling_and_padding_change_what_is_painted() -> None:
    usual, *others = (
        nst.paint(nst.Cell(CAT, STARS), **SMALL, **options)[0].canvas
        for options in ({}, {"pooling": "average"}, {"pooling": "l2"}, {"padding": "zeros"})
    )
    assert not any(torch.equal(usual, canvas) for canvas in others)


def test_it_paints_what_run_py_paints_and_reads_it(tmp_path: Path) -> None:
    overrides = ["optimizer=adam", "content_layers=conv3_1", "seed=4", "save_every=2", "weights.tv=2"]
    [result] = paint_here(tmp_path / "run", [*overrides, "size=24", "iterations=5"])
    assert result.error is None
    run = nst.load_run(result.folder)
    cell = nst.Cell(
        *(Path(run.folder, f"{kind}.png") for kind in ("content", "style")),
        content_layers=["conv3_1"],
        style_weight=7000,
        tv_weight=2,
        optimizer="adam",
        init="noise",
        seed=4,
    )
    [painting] = nst.paint(cell, **{**SMALL, "iterations": 5}, normalize=False, padding="zeros")
    assert (pixels(result.folder) == to_uint8(painting.canvas)).all()
    assert run.iterations == [0, 2, 4]
    assert run.losses.keys() == painting.losses.keys()
    for name, values in run.losses.items():
        assert torch.equal(values.float(), painting.losses[name])
    assert (to_uint8(run.canvas) == pixels(result.folder)).all()
    decoded = list(decode(run.folder / "canvas.mp4"))
    assert len(decoded) == 3
    for mine, theirs in zip(run.frames(), decoded, strict=True):
        assert (to_uint8(mine) == theirs).all()
    scores = nst.score(
        run.canvas, *(run.folder / f"{kind}.png" for kind in ("content", "style")), device="cpu"
    )
    known = record(run.folder)["scores"]
    assert scores.lpips_content == pytest.approx(known["lpips_content"], abs=0.01)
    assert scores.style_distance == pytest.approx(known["style_distance"], rel=0.05)


def test_the_config_of_a_run_is_resolved(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra/config.yaml").write_text("seed: 3\nimages: {content: '${root:data/cat.png}'}\n")
    with pytest.raises(NstError, match=r"no run\.json in it"):
        nst.load_run(tmp_path)
    (tmp_path / "run.json").write_text('{"status": "running"}')
    run = nst.load_run(tmp_path)
    assert run.config == {"seed": 3, "images": {"content": str(CAT)}}
    assert run.iterations == []


def test_scores_are_zero_for_the_image_itself_and_resize_the_images() -> None:
    cat = read(CAT, 32, "x", Fit.keep)
    own = nst.score(CAT, CAT, CAT)
    assert (own.lpips_content, own.style_distance) == (0, 0)
    [theirs] = load_scorer(torch.device("cpu")).score([cat], [cat], [read(STARS, 32, "x", Fit.keep)])
    assert nst.score(cat, CAT, STARS, device="cpu") == theirs


@pytest.mark.parametrize(
    ("cell", "more", "says"),
    [
        ({"style": "nowhere.png"}, {}, "image=nowhere.png: no such file"),
        ({"style": torch.zeros(16, 16)}, {}, r"give one of shape \[3, H, W\]"),
        ({"style_layers": ["conv6_1"]}, {}, "conv6_1: vgg16 has no such layer"),
        ({"optimizer": "sgd"}, {}, "optimizer=sgd: allowed are adam, lbfgs"),
        ({"lr": -1.0}, {}, r"optimizer.lr=-1.0: must be a finite number above 0"),
        ({"style_loss": "grams"}, {}, "style_loss=grams: allowed are gram"),
        ({"style": []}, {}, "style: an empty list"),
        ({"style": [CAT, STARS], "style_weights": [1]}, {}, r"style_weights=\[1.0\]: must be 2 numbers"),
        ({"style_weights": [0]}, {}, r"style_weights=\[0.0\]: must be 1 numbers, 0 or more, and not all 0"),
        ({"style_mask": "m.png"}, {}, "style_mask=m.png: says nothing alone; give content_mask, too"),
        (
            {"content_mask": torch.zeros(8, 8)},
            {},
            r"content_mask: a tensor \(8, 8\) of torch.float32; give int",
        ),
        ({"content_mask": torch.zeros(8, 8).int()}, {}, "content_mask: is 8 x 8 pixels, and its image 451 x"),
        (
            {"content": torch.zeros(3, 24, 24), "content_mask": torch.eye(24).int()},
            {},
            r"content_mask: has 2 regions \(#000000, #000001\), and there are 1 style images",
        ),
        ({"transparency": "black"}, {}, "transparency=black: allowed are white, keep"),
        ({"activation": "gelu"}, {}, "activation=gelu: allowed are conv, relu"),
        ({}, {"size": 8}, "size=8: must be at least 16"),
        ({}, {"size": 20}, "size=20: a canvas would be 20 x 13 pixels, and needs at least 16 a side"),
        ({}, {"fit": "stretch"}, "fit=stretch: allowed are square, keep, crop"),
        ({}, {"iterations": 0}, "iterations=0: must be at least 1"),
        ({}, {"frame_every": 0}, "frame_every=0: must be at least 1"),
        ({}, {"precision": "fp8"}, "precision=fp8: allowed are fp32"),
        ({}, {"pooling": "mean"}, "pooling=mean: allowed are max, average, l2"),
        ({}, {"model": "squeezenet1_1", "pooling": "l2"}, "pooling=l2: allowed are max"),
        ({}, {"model": "squeezenet1_1"}, "conv4_2: squeezenet1_1 has no such layer; allowed are features.0"),
        ({}, {"model": "resnet"}, "model.name=resnet: allowed are vgg16, vgg19"),
    ],
)
def test_what_cannot_be_painted_is_one_line(
    cell: dict[str, object], more: dict[str, object], says: str
) -> None:
    with pytest.raises(NstError, match=says) as raised:
        nst.paint(nst.Cell(**{"content": CAT, "style": STARS, **cell}), **{**SMALL, **more})
    assert "\n" not in str(raised.value)
