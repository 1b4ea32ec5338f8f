"""How far a canvas is from its two images, measured the same way whatever painted it.

Losses of cells with different layers or weights are in different units. These scores are not: they are
read off the same five layers of VGG-16 for every cell, whatever painted it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nst.core.losses.gram_matrix import gram_matrix
from nst.core.memory import is_out_of_memory
from nst.core.network import Tap
from nst.core.precision import arithmetic
from nst.core.streams import current_device
from nst.core.vgg import VGG
from nst.errors import NstError

# The last convolution of each block, after its ReLU: LPIPS's layers.
TAPS = tuple(Tap(layer, "relu") for layer in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"))
Styles = Tensor | Sequence[tuple[Tensor, float]]
SMALLEST = 16  # pixels a side, of which four poolings leave one


@dataclass(frozen=True)
class Scores:
    """Two distances of one canvas, 0 where it is the image itself."""

    lpips_content: float
    style_distance: float


class Scorer:
    """Scores canvases against the images that they were painted from.

    **LPIPS** (Zhang et al., CVPR 2018, eq. 1, version 0.1) to the content image: with x̂ the features of
    layer l scaled to unit length over their channels, and w the published heads,

        d(x, c) = Σ_l 1/(H_l·W_l) Σ_hw Σ_k w_lk (x̂_lkhw - ĉ_lkhw)²

    **Style distance** to the style image: the relative distance of Gram matrices G_l = F_l·F_lᵀ/(H_l·W_l)
    (Gatys et al., CVPR 2016, eq. 3), in Frobenius norms, as a mean over the same five layers, so that each
    counts alike whatever its units:

        d(x, s) = 1/5 Σ_l |G_l(x) - G_l(s)| / |G_l(s)|

    A canvas without any features would have 1. Two unrelated pictures have about 1 to 2, as the more
    contrasted one counts for more, and a canvas of noise has 7.

    Args:
        weights: VGG-16's, as `nst.io.weights.load("vgg16", "imagenet")` has them.
        heads: as `nst.io.weights.lpips_heads()` has them.
        device: where to compute, in float32.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], heads: Sequence[Tensor], device: torch.device | str = "cpu"
    ) -> None:
        self._weights, self._network = weights, _network(weights, TAPS, device)
        self._heads = [head.to(device).view(1, -1, 1, 1) for head in heads]

    @torch.no_grad()
    def score(
        self, canvases: Sequence[Tensor], contents: Sequence[Tensor], styles: Sequence[Styles]
    ) -> list[Scores]:
        """Score each canvas, clamped to [0, 1] as it is shown, against its own content and style.

        Args:
            canvases, contents, styles: `[3, H, W]` each, as many of one as of the other, on any device; a
                canvas and its content of one size. Where rows share an image, as one tensor object, its
                features are computed once. Several styles of a canvas are pairs of an image and its weight,
                of which the sum is 1: their style distance is the weighted mean of the distances to each.

        Raises:
            NstError: a side is below 16 pixels, where the network's last layers have nothing left to see,
                or memory does not suffice. There is no lesser score instead: it would not compare.
        """
        size = min((side for canvas in canvases for side in canvas.shape[1:]), default=SMALLEST)
        if size < SMALLEST:
            raise NstError(
                f"size={size}: a canvas below {SMALLEST} pixels cannot be scored; "
                f"give size={SMALLEST} or more"
            )
        try:
            with current_device(self._network.device), arithmetic("fp32"):
                return self._score(canvases, contents, styles)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise NstError(
                f"size={size}: there is no memory left on {self._network.device} to score the canvas; "
                "give a smaller size"
            ) from error

    @torch.no_grad()
    def style_distance_at(self, layer: str, canvas: Tensor, style: Tensor) -> float:
        """The relative distance of Gram matrices at one layer, `|G(x) - G(s)| / |G(s)|`, after its ReLU.

        Args:
            layer: any of VGG-16's, `conv3_1`.
            canvas, style: `[3, H, W]` each, their sizes their own.
        """
        tap = Tap(layer, "relu")
        network = _network(self._weights, (tap,), self._network.device)
        with current_device(network.device), arithmetic("fp32"):
            mine, theirs = (_grams([_seen(network, image)[tap]]) for image in (canvas, style))
            return _relative_distance(mine, theirs)

    def _score(
        self, canvases: Sequence[Tensor], contents: Sequence[Tensor], styles: Sequence[Styles]
    ) -> list[Scores]:
        blends = [[(style, 1.0)] if isinstance(style, Tensor) else style for style in styles]
        distinct = {id(style): style for blend in blends for style, _ in blend}
        grams = {key: _grams(self._features(style)) for key, style in distinct.items()}
        sharing = defaultdict(list)
        for row, content in enumerate(contents):
            sharing[id(content)].append(row)
        scores: dict[int, Scores] = {}
        # One canvas at a time: it bounds the memory, and a batch is hardly faster.
        for rows in sharing.values():
            directions = [_directions(layer) for layer in self._features(contents[rows[0]])]
            for row in rows:
                features = self._features(canvases[row])
                lpips = self._lpips(features, directions)
                mine = _grams(features)
                apart = [weight * _relative_distance(mine, grams[id(style)]) for style, weight in blends[row]]
                scores[row] = Scores(lpips, sum(apart))
        return [scores[row] for row in range(len(canvases))]

    def _features(self, image: Tensor) -> list[Tensor]:
        """`[1, C, H, W]` of each layer."""
        features = _seen(self._network, image)
        return [features[tap] for tap in TAPS]

    def _lpips(self, features: Sequence[Tensor], directions: Sequence[Tensor]) -> float:
        layers = [
            ((_directions(mine) - theirs).square() * head).sum(1).mean()
            for mine, theirs, head in zip(features, directions, self._heads, strict=True)
        ]
        return torch.stack(layers).sum().item()


def _network(weights: Mapping[str, Tensor], taps: Sequence[Tap], device: torch.device | str) -> VGG:
    # LPIPS's shift and scale of [-1, 1] are ImageNet's mean and standard deviation of [0, 1].
    # Nothing is needed for a way back.
    return VGG("vgg16", weights, taps, normalize=True, recompute=True, device=device)


def _seen(network: VGG, image: Tensor) -> dict[Tap, Tensor]:
    """What a network makes of a picture `[3, H, W]`, clamped to [0, 1] as it is shown."""
    return network.forward(image.to(network.device, torch.float32).clamp(0, 1).unsqueeze(0)).features


def _directions(features: Tensor) -> Tensor:
    """Features scaled to unit length over their channels; 0 where all of them are 0."""
    lengths: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / (lengths + 1e-10)


def _grams(features: Sequence[Tensor]) -> list[Tensor]:
    """Gram matrix `[1, C, C]` of each layer, a mean over its positions."""
    return [gram_matrix(layer) for layer in features]


def _relative_distance(grams: Sequence[Tensor], targets: Sequence[Tensor]) -> float:
    layers = [(gram - target).norm() / target.norm() for gram, target in zip(grams, targets, strict=True)]
    return torch.stack(layers).mean().item()
