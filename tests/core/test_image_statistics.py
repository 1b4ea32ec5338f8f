"""Colours, sharpness and noise of pictures, against NumPy, SciPy and scikit-image in float64."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy  # whose parts are imported when they are used: they take a second
import skimage
import torch
from numpy.typing import NDArray
from torch import Tensor

from nst.core.color import luminance
from nst.core.image_statistics import color_distance, lab, noise_level, sharpness
from nst.io.images import read

DATA = Path(__file__).parents[2] / "data"
PICTURES = ("pagoda.jpg", "starry_night.jpg", "cat.png", "cameraman_grey.png")


def image(name: str, size: int = 40) -> Tensor:
    return read(DATA / name, size, "images.content")


def plain(picture: Tensor) -> NDArray[np.float64]:
    """`[H, W, 3]`."""
    return picture.double().movedim(0, -1).numpy()


def flat(*color: float) -> Tensor:
    return torch.tensor(color, dtype=torch.float64).view(3, 1, 1).expand(3, 12, 12)


def white_noise(sigma: float, size: int = 256) -> Tensor:
    return 0.5 + sigma * torch.randn(3, size, size, generator=torch.Generator().manual_seed(0))


def plain_color_distance(one: Tensor, two: Tensor) -> float:
    means, covariances = [], []
    for picture in (one, two):
        pixels = skimage.color.rgb2lab(plain(picture)).reshape(-1, 3)
        means.append(pixels.mean(0))
        covariances.append(np.cov(pixels.T, bias=True))
    a, b = covariances
    cross = scipy.linalg.sqrtm(a @ b).real  # its trace is that of (a^½ b a^½)^½
    return math.sqrt(((means[0] - means[1]) ** 2).sum() + np.trace(a + b - 2 * cross))


@pytest.mark.parametrize("name", PICTURES)
def test_lab_is_scikit_image_s(name: str) -> None:
    assert lab(image(name)).movedim(0, -1).numpy() == pytest.approx(
        skimage.color.rgb2lab(plain(image(name))), abs=0.005
    )


def test_lab_of_known_colors() -> None:
    assert lab(flat(1, 1, 1))[:, 0, 0].tolist() == pytest.approx([100, 0, 0], abs=0.01)
    assert lab(flat(0, 0, 0))[:, 0, 0].tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert lab(flat(1, 0, 0))[:, 0, 0].tolist() == pytest.approx([53.24, 80.09, 67.20], abs=0.02)


@pytest.mark.parametrize(("one", "two"), [(0, 1), (1, 2), (2, 0)])
def test_color_distance_is_the_plain_one(one: int, two: int) -> None:
    a, b = image(PICTURES[one]), image(PICTURES[two], 32)
    wanted = plain_color_distance(a, b)
    assert wanted > 5
    assert color_distance(a, b) == pytest.approx(wanted, rel=1e-4)
    assert color_distance(b, a) == pytest.approx(wanted, rel=1e-4)


def test_color_distance_of_flat_pictures_is_that_of_their_colors() -> None:
    assert color_distance(flat(0, 0, 0), flat(1, 1, 1)) == pytest.approx(100, abs=0.01)
    apart = skimage.color.rgb2lab(np.array([[[0.2, 0.5, 0.7]]])) - skimage.color.rgb2lab(
        np.array([[[0.6, 0.5, 0.1]]])
    )
    wanted = float(np.linalg.norm(apart))
    assert color_distance(flat(0.2, 0.5, 0.7), flat(0.6, 0.5, 0.1)) == pytest.approx(wanted, rel=1e-4)


def test_where_colors_are_does_not_count() -> None:
    cat = image("cat.png")
    assert color_distance(cat, cat.flip(2)) == pytest.approx(0, abs=1e-4)
    assert color_distance(cat, luminance(cat).expand(3, -1, -1)) > 1


@pytest.mark.parametrize("name", PICTURES)
def test_sharpness_is_scikit_image_s(name: str) -> None:
    grey = luminance(image(name).double())[0].numpy()
    # Its Sobel operators are divided by 4, for neighbours that are two pixels apart.
    inside = (slice(1, -1), slice(1, -1))
    squared = (skimage.filters.sobel_h(grey)[inside] ** 2 + skimage.filters.sobel_v(grey)[inside] ** 2) / 4
    assert squared.mean() > 1e-5
    assert sharpness(image(name)) == pytest.approx(math.sqrt(squared.mean()), rel=1e-9)


def test_sharpness_of_a_ramp_is_its_slope() -> None:
    ramp = (torch.arange(20.0) * 0.03).expand(3, 20, 20)
    assert sharpness(ramp) == pytest.approx(0.03, rel=1e-6)
    assert sharpness(ramp.mT) == pytest.approx(0.03, rel=1e-6)
    assert sharpness(flat(0.3, 0.5, 0.7)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", PICTURES)
def test_noise_is_the_plain_one(name: str) -> None:
    mask = np.outer([1, -2, 1], [1, -2, 1])
    picture = plain(image(name))
    height, width, _ = picture.shape
    levels = [
        math.sqrt(math.pi / 2)
        / (6 * (width - 2) * (height - 2))
        * np.abs(scipy.signal.convolve2d(picture[..., channel], mask, mode="valid")).sum()
        for channel in range(3)
    ]
    assert min(levels) > 0.001
    assert noise_level(image(name)) == pytest.approx(np.mean(levels), rel=1e-9)


@pytest.mark.parametrize("sigma", [0.01, 0.1])
def test_noise_of_white_noise_is_its_deviation(sigma: float) -> None:
    assert noise_level(white_noise(sigma)) == pytest.approx(sigma, rel=0.02)


def test_edges_are_sharp_and_no_noise() -> None:
    edge = torch.zeros(3, 20, 20)
    edge[..., 10:] = 1
    assert noise_level(edge) == pytest.approx(0, abs=1e-12)
    assert sharpness(edge) > 0.1
    assert noise_level(flat(0.3, 0.5, 0.7)) == pytest.approx(0, abs=1e-12)
