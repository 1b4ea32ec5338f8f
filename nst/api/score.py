"""Scores of a canvas."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from nst.api.cell import blend
from nst.api.images import ImageLike, Images, several
from nst.api.paint import as_device
from nst.core.metrics import Scores
from nst.core.resizing import cover
from nst.io.fit import Fit
from nst.io.images import image_shape, read
from nst.io.weights import load_scorer


def score(
    canvas: ImageLike,
    content: ImageLike,
    style: ImageLike | Sequence[ImageLike],
    *,
    style_weights: Sequence[float] | None = None,
    device: str = "auto",
) -> Scores:
    """How far a canvas is from its two images; lower is closer.

    Args:
        canvas, content, style: a tensor `[3, H, W]`, or the path of an image. The content image is resized to
            the canvas, the style image to its long side. Several styles are a list.
        style_weights: of several styles: their style distance is the weighted mean of the distances to each.
        device: as in `paint`.

    Returns:
        `lpips_content`, LPIPS to the content (Zhang et al., CVPR 2018), and `style_distance`, the relative
        distance of Gram matrices to those of the style; both by VGG-16, whatever painted the canvas.

    Raises:
        NstError: an image or the weights cannot be had.
    """
    if not isinstance(canvas, Tensor):
        path = Path(canvas).expanduser()
        canvas = read(path, max(image_shape(path, "canvas")), "canvas", Fit.keep)
    shape = canvas.shape[1], canvas.shape[2]
    images = Images(max(shape), Fit.keep)
    like = cover(images.content(content), shape)
    styles = [images.style(each) for each in several(style)]
    weighted = list(zip(styles, blend(style_weights, len(styles)), strict=True))
    [scores] = load_scorer(as_device(device)).score([canvas], [like], [weighted])
    return scores
