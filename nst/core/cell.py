"""What one canvas is painted after."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from nst.core.color import Color, StyleColors
from nst.core.losses import MSE, ContentLoss, FeatureLoss, Gram, StyleLoss
from nst.core.network import Tap

# The first columns of a record of losses; a column for each layer's term follows.
SUMS = ("total", "content", "style", "tv")


@dataclass(frozen=True)
class Cell:
    """What one row of a batch is painted after.

    Attributes:
        content: an image `[3, H, W]` in [0, 1], of the canvas's shape.
        styles: images `[3, h, w]` in [0, 1], each of a shape of its own.
        content_layers, style_layers: the weight of each selected layer in its sum; may be empty.
        activation: `conv` or `relu`: features before or after the ReLU behind each layer.
        content_weight, style_weight, tv_weight: of the three sums (the seed's alpha, beta, gamma).
        content_loss, style_loss: what is summed over the layers.
        style_weights: of the styles; their sum is 1. Empty is equal weights.
        content_mask: `[H, W]`, the region of each pixel, from 0 on; None is no regions.
        style_mask: `[h, w]`, the regions of the only style. None beside a `content_mask` says that the n-th
            region is painted after the n-th style.
        color: what becomes of colours.
    """

    content: Tensor
    styles: tuple[Tensor, ...]
    content_layers: Mapping[str, float]
    style_layers: Mapping[str, float]
    activation: str
    content_weight: float
    style_weight: float
    tv_weight: float
    content_loss: ContentLoss = field(default_factory=MSE)
    style_loss: StyleLoss = field(default_factory=Gram)
    style_weights: tuple[float, ...] = ()
    content_mask: Tensor | None = None
    style_mask: Tensor | None = None
    color: Color = field(default_factory=StyleColors)

    def taps(self) -> set[Tap]:
        """Where this cell reads the network."""
        return {Tap(layer, self.activation) for layer in (*self.content_layers, *self.style_layers)}

    def columns(self) -> tuple[str, ...]:
        """The names of this cell's losses: the sums, then its layers' terms."""
        return (
            *SUMS,
            *(f"content/{layer}" for layer in self.content_layers),
            *(f"style/{layer}" for layer in self.style_layers),
        )

    def layers(self, kind: str) -> Mapping[str, float]:
        """The layers of one kind of term, `content` or `style`."""
        return self.content_layers if kind == "content" else self.style_layers

    @property
    def blend(self) -> tuple[float, ...]:
        """The weight of each style."""
        return self.style_weights or (1 / len(self.styles),) * len(self.styles)

    def loss(self, kind: str) -> FeatureLoss:
        """The loss of one kind of term."""
        return self.content_loss if kind == "content" else self.style_loss
