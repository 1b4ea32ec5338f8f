"""Numbers of a picture by itself, without a network: its colours in CIE Lab, its sharpness, its noise."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.core.color import colors, luminance, root

# sRGB's primaries and its white, D65 seen at 2 degrees (IEC 61966-2-1).
RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
D65 = (0.95047, 1.0, 1.08883)
SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
# The difference of two Laplacians: it does not see edges that are straight.
IMMERKAER = ((1.0, -2.0, 1.0), (-2.0, 4.0, -2.0), (1.0, -2.0, 1.0))


def lab(image: Tensor) -> Tensor:
    """CIE L*a*b* of an sRGB image with values in [0, 1], `[3, H, W]` each, in float64 (CIE 15:2004)."""
    encoded = image.double()
    linear = torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    x, y, z = torch.tensordot(linear.new_tensor(RGB_TO_XYZ), linear, 1) / linear.new_tensor(D65).view(3, 1, 1)
    x, y, z = (_lightness(channel) for channel in (x, y, z))
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _lightness(share: Tensor) -> Tensor:
    """The cube root, and near 0 the line that touches it."""
    bend = 6 / 29
    return torch.where(share > bend**3, share.clamp(min=0) ** (1 / 3), share / (3 * bend**2) + 4 / 29)


def color_distance(image: Tensor, other: Tensor) -> float:
    """How far the colours of two images `[3, H, W]` are apart in CIE Lab; where they are does not count.

    The 2-Wasserstein distance of Gaussians with their means and covariances (Dowson & Landau, Journal of
    Multivariate Analysis 12, 1982):

        d² = |μ1 - μ2|² + tr(Σ1 + Σ2 - 2·(Σ1^½·Σ2·Σ1^½)^½)

    in units of CIE76's ΔE: images of one colour each are as far apart as these.
    """
    (mean, covariance), (wanted, spread) = colors(lab(image)), colors(lab(other))
    half = root(covariance)
    shared = root(half @ spread @ half)
    squared = (mean - wanted).square().sum() + (covariance + spread - 2 * shared).trace()
    return squared.clamp(min=0).sqrt().item()


def sharpness(image: Tensor) -> float:
    """The root of the mean squared gradient of an image's luminance, in levels a pixel; `[3, H, W]`.

    The gradient is Sobel's; its mean square is the focus measure Tenengrad (Tenenbaum 1970; Pertuz, Puig &
    Garcia, Pattern Recognition 46, 2013, GRA6). Here the operator is divided by 8, so that a ramp of one
    level a pixel has 1, and the root is taken, so that twice the contrast is twice as sharp.
    """
    grey = luminance(image.double())
    sobel = grey.new_tensor(SOBEL) / 8
    gradient = F.conv2d(grey[None], torch.stack([sobel, sobel.T])[:, None])
    return gradient.square().sum(1).mean().sqrt().item()


def noise_level(image: Tensor) -> float:
    """The standard deviation of the white noise in an image `[3, H, W]`, as estimated by Immerkær.

    σ = √(π/2)·Σ|I * N| / (6·(W-2)·(H-2)), N = [[1, -2, 1], [-2, 4, -2], [1, -2, 1]] (Immerkær, Computer
    Vision and Image Understanding 64, 1996), as a mean over red, green and blue. Texture as fine as a pixel
    counts as noise.
    """
    channels = image.double()[:, None]
    response = F.conv2d(channels, channels.new_tensor(IMMERKAER)[None, None])
    return math.sqrt(math.pi / 2) * response.abs().mean().item() / 6
