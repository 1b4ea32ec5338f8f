"""LPIPS against its authors' package, the style distance against a plain float64 one."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.plain import PlainCell
from torch import Tensor
from torch.nn import Module

from nst.core.init_images import noise
from nst.core.metrics import Scorer
from nst.errors import NstError
from nst.io.images import read
from nst.io.weights import load_weights, lpips_heads

DATA = Path(__file__).parents[2] / "data"


def image(name: str, size: int) -> Tensor:
    return read(DATA / name, size, "images.content")


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    heads = lpips_heads()
    return Scorer(load_weights("vgg16", "imagenet").tensors, heads)


@pytest.fixture(scope="module")
def reference() -> Module:
    """The authors' own, whose network is given our weights; its heads are those it comes with."""
    import lpips  # takes seconds, with torchvision

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it calls torchvision as one did in 2021
        model = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    ours = load_weights("vgg16", "imagenet").tensors.values()
    for theirs, tensor in zip(model.net.parameters(), ours, strict=True):
        theirs.copy_(tensor)
    return model


LAYERS = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")


def plain_style_distance(canvas: Tensor, style: Tensor, layers: Sequence[str] = LAYERS) -> float:
    weights = load_weights("vgg16", "imagenet").tensors
    cell = PlainCell(canvas, style, list(layers), {}, activation="relu", normalize=True, tensors=weights)
    mine, theirs = cell.features(canvas.clamp(0, 1)), cell.features(style)
    total = 0.0
    for layer in layers:
        channels = mine[layer].shape[1]
        f, s = mine[layer].reshape(channels, -1), theirs[layer].reshape(channels, -1)
        g, a = f @ f.T / f.shape[1], s @ s.T / s.shape[1]
        total += (((g - a) ** 2).sum().sqrt() / (a**2).sum().sqrt()).item()
    return total / len(layers)


def pairs(size: int) -> list[tuple[Tensor, Tensor]]:
    """A canvas and a content image each: real ones, noise, out of range, near and far."""
    pagoda, night, cat = (image(name, size) for name in ("pagoda.jpg", "starry_night.jpg", "cat.png"))
    return [
        (pagoda, night),
        (cat, image("mosaic.png", size)),
        (image("cameraman_grey.png", size), cat),
        (noise((size, size), 3), pagoda),
        (pagoda + 0.02 * noise((size, size), 4), pagoda),
        (3 * night - 1, night),
        (torch.zeros(3, size, size), torch.ones(3, size, size)),
    ]


@pytest.mark.parametrize("size", [16, 45])
def test_lpips_is_the_reference_s(size: int, scorer: Scorer, reference: Module) -> None:
    canvases, contents = zip(*pairs(size), strict=True)
    scores = scorer.score(canvases, contents, contents)
    for score, canvas, content in zip(scores, canvases, contents, strict=True):
        with torch.no_grad():
            wanted = reference(canvas.clamp(0, 1)[None], content[None], normalize=True).item()
        assert wanted > 0.001
        assert score.lpips_content == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("size", [16, 45])
def test_style_distance_is_the_plain_one(size: int, scorer: Scorer) -> None:
    canvases, styles = zip(*pairs(size), strict=True)
    for score, canvas, style in zip(scorer.score(canvases, styles, styles), canvases, styles, strict=True):
        wanted = plain_style_distance(canvas, style)
        assert wanted > 0.001
        assert score.style_distance == pytest.approx(wanted, rel=1e-4)


def test_a_style_image_may_be_of_another_size(scorer: Scorer) -> None:
    cat, night = image("cat.png", 32), image("starry_night.jpg", 50)
    (score,) = scorer.score([cat], [cat], [night])
    assert score.style_distance == pytest.approx(plain_style_distance(cat, night), rel=1e-4)


@pytest.mark.parametrize("layer", ["conv1_1", "conv3_1", "conv3_3", "conv5_3"])
def test_style_distance_at_a_layer_is_the_plain_one(layer: str, scorer: Scorer) -> None:
    cat, night = image("cat.png", 32), image("starry_night.jpg", 50)
    wanted = plain_style_distance(cat, night, [layer])
    assert wanted > 0.1
    assert scorer.style_distance_at(layer, cat, night) == pytest.approx(wanted, rel=1e-4)
    assert scorer.style_distance_at(layer, 3 * cat - 1, cat) == pytest.approx(
        plain_style_distance((3 * cat - 1).clamp(0, 1), cat, [layer]), rel=1e-4
    )


def test_an_image_is_no_distance_from_itself(scorer: Scorer) -> None:
    cat, night = image("cat.png", 40), image("starry_night.jpg", 40)
    as_content, as_style = scorer.score([cat, night], [cat.clone(), cat], [night, night.clone()])
    assert as_content.lpips_content == 0
    assert as_style.style_distance == 0
    assert as_content.style_distance > 0.5
    assert as_style.lpips_content > 0.2


def test_style_is_what_is_left_when_places_are_exchanged(scorer: Scorer) -> None:
    """Turned upside down, a painting keeps most of its style, and is far from itself as content."""
    night, cat = image("starry_night.jpg", 128), image("cat.png", 128)
    turned, other = scorer.score([night.flip(1), cat], [night, night], [night, night])
    assert turned.style_distance < 0.6 * other.style_distance
    assert turned.lpips_content > 0.3


@given(rows=st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=6), size=st.integers(16, 40))
@settings(max_examples=5, deadline=None)
def test_rows_are_scored_as_each_is_alone(
    rows: list[tuple[int, int, int]], size: int, scorer: Scorer
) -> None:
    images = [
        noise((size, size), 0),
        *(image(name, size) for name in ("cat.png", "mosaic.png", "pagoda.jpg")),
    ]
    canvases, contents, styles = ([images[row[i]] for row in rows] for i in range(3))
    together = scorer.score(canvases, contents, styles)
    assert len(together) == len(rows)
    for score, row in zip(together, rows, strict=True):
        (alone,) = scorer.score(*([images[number].clone()] for number in row))
        assert score.lpips_content == pytest.approx(alone.lpips_content, rel=1e-5, abs=1e-7)
        assert score.style_distance == pytest.approx(alone.style_distance, rel=1e-5, abs=1e-7)


def test_images_that_rows_share_pass_once(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[Tensor] = []
    forward = scorer._network.forward

    def counted(images: Tensor) -> object:
        passes.append(images)
        return forward(images)

    monkeypatch.setattr(scorer._network, "forward", counted)
    content, style = image("cat.png", 16), image("mosaic.png", 16)
    scorer.score([noise((16, 16), seed) for seed in range(5)], [content] * 5, [style] * 5)
    assert len(passes) == 5 + 1 + 1


@pytest.mark.parametrize("size", [1, 2, 15])
def test_too_small_a_canvas_has_no_score(size: int, scorer: Scorer) -> None:
    small = [noise((size, size), 0)]
    with pytest.raises(NstError) as error:
        scorer.score(small, small, small)
    assert str(error.value) == (
        f"size={size}: a canvas below 16 pixels cannot be scored; give size=16 or more"
    )


def test_too_large_a_canvas_has_no_score(scorer: Scorer) -> None:
    large = [torch.zeros(3, 1, 1).expand(3, 2**23, 2**23)]  # takes no memory, until it is worked on
    with pytest.raises(NstError) as error:
        scorer.score(large, large, large)
    assert str(error.value).startswith("size=8388608: there is no memory left on cpu")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_judges_alike(scorer: Scorer) -> None:
    canvases, contents = zip(*pairs(97), strict=True)
    on_gpu = Scorer(load_weights("vgg16", "imagenet").tensors, lpips_heads(), "cuda")
    for mine, theirs in zip(
        on_gpu.score(canvases, contents, contents), scorer.score(canvases, contents, contents), strict=True
    ):
        assert mine.lpips_content == pytest.approx(theirs.lpips_content, abs=1e-5)
        assert mine.style_distance == pytest.approx(theirs.style_distance, rel=1e-4)


@pytest.mark.parametrize(
    "said", ["could not create a primitive", "DefaultCPUAllocator: can't allocate memory"]
)
def test_memory_that_is_short_while_scoring_is_told(
    said: str, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(scorer, "_score", fails)
    small = [noise((16, 16), 0)]
    with pytest.raises(NstError, match="no memory left on cpu to score"):
        scorer.score(small, small, small)
