"""Measures of a run's canvas: by itself, and beside the content image, the style image or another canvas."""

from typing import TYPE_CHECKING

from nst.errors import NstError
from nst.measures.measure import finished, register
from nst.runs.reader import Run

if TYPE_CHECKING:
    from torch import Tensor

    from nst.config.schema import Config
    from nst.core.metrics import Scorer


def picture(run: Run, name: str = "canvas.png") -> "Tensor":
    """A picture of a finished run, `[3, H, W]` in [0, 1], with the 256 levels of its file.

    Raises:
        NstError: the run is not finished, or the picture cannot be read.
    """
    from nst.io.canvas_files import read_levels

    try:
        return read_levels(finished(run).folder / name)[:3]
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's, of a file that is damaged
        said = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise NstError(f"{run.folder / name}: cannot be read ({said}); paint it again") from error


def _image(run: Run, kind: str) -> "Tensor":
    """The "content" or the "style" image of a run, as `picture`; several styles are refused."""
    style = run.value("images.style")
    if kind == "style" and not isinstance(style, str | None) and len(style) > 1:
        raise NstError(f"{run.folder}: {len(style)} style images; give runs of one style image")
    return picture(run, f"{kind}.png")


def _scorer() -> "Scorer":
    import torch

    from nst.io.weights import load_scorer

    return load_scorer(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def _large_enough(config: "Config", other: "Config | None", **arguments: object) -> str | None:
    from nst.core.metrics import SMALLEST

    if config.size >= SMALLEST:
        return None
    return f"size={config.size}: needs canvases of {SMALLEST} pixels or more; give a larger size"


def _one_image(config: "Config", other: "Config | None", to: str = "style") -> str | None:
    if to not in ("content", "style"):
        return f"to={to}: allowed are content and style; give one of them"
    count = len(config.images.styles) if to == "style" else 1
    return f"images.style has {count} images, and one can be measured; give one" if count > 1 else None


def _known_layer(config: "Config", other: "Config | None", layer: str | None = None) -> str | None:
    from nst.core.vgg import LAYERS

    if layer is None:
        return None
    if layer not in LAYERS["vgg16"]:
        return f"{layer} is no layer of vgg16; allowed are {', '.join(LAYERS['vgg16'])}"
    return _one_image(config, other)


def _same_shape(config: "Config", other: "Config | None") -> str | None:
    if other is None or config.size == other.size:
        return None
    return f"size={config.size} and {other.size}: canvases of other sizes do not compare; give one size"


@register(source="Zhang et al., CVPR 2018, eq. 1", better="lower", checks=[_large_enough])
def lpips(run: Run) -> float:
    """LPIPS (VGG-16, version 0.1) of the canvas and the content image, 0 where they are the same.

    As recorded with the canvas; else computed from the run's files.
    """
    if (recorded := (run.record.scores or {}).get("lpips_content")) is not None:
        return recorded
    canvas, content = picture(run), picture(run, "content.png")
    return _scorer().score([canvas], [content], [content])[0].lpips_content


@register(source="Zhang et al., CVPR 2018, eq. 1", better="lower", checks=[_large_enough, _same_shape])
def lpips_between(run: Run, other: Run) -> float:
    """LPIPS (VGG-16, version 0.1) of the canvases of both conditions: how alike they are, 0 if the same."""
    one, two = picture(run), picture(other)
    if one.shape != two.shape:
        raise NstError(
            f"{run.folder}: its canvas is not of the size of that of {other.folder}; give one size"
        )
    return _scorer().score([one], [two], [two])[0].lpips_content


@register(
    source="Gatys, Ecker & Bethge, CVPR 2016, eq. 3; nst.core.metrics",
    better="lower",
    checks=[_large_enough, _known_layer],
)
def style_distance(run: Run, *, layer: str | None = None) -> float:
    """The relative distance of the Gram matrices of canvas and style image, |G - A|/|A|, 0 if the same.

    The mean over conv1_2, conv2_2, conv3_3, conv4_3 and conv5_3 of VGG-16 after their ReLU, whatever
    painted the canvas: as recorded with it, else computed from the run's files. `style_distance.LAYER` is
    that of any one layer of VGG-16.
    """
    if layer is not None:
        return _scorer().style_distance_at(layer, picture(run), _image(run, "style"))
    if (recorded := (run.record.scores or {}).get("style_distance")) is not None:
        return recorded
    canvas = picture(run)
    return _scorer().score([canvas], [canvas], [_image(run, "style")])[0].style_distance


@register(
    source="Gatys, Ecker & Bethge, CVPR 2016, eq. 3; luminance of ITU-R BT.601",
    better="lower",
    checks=[_large_enough, _one_image],
)
def texture_distance(run: Run, *, to: str = "style") -> float:
    """`style_distance` of the luminance of the canvas and an image, `content` or `style`: no colour."""
    from nst.core.color import luminance

    canvas, image = (luminance(found).expand(3, -1, -1) for found in (picture(run), _image(run, to)))
    return _scorer().score([canvas], [canvas], [image])[0].style_distance


@register(
    unit="ΔE",
    source="Dowson & Landau, J. Multivariate Analysis 12, 1982; CIE 15:2004",
    better="lower",
    checks=[_one_image],
)
def color_distance(run: Run, *, to: str) -> float:
    """How far the canvas's colours are from those of an image, `content` or `style`.

    The 2-Wasserstein distance of Gaussians with the means and covariances of the colours of all pixels, in
    CIE Lab.
    """
    from nst.core.image_statistics import color_distance as of

    return of(picture(run), _image(run, to))


@register(
    unit="levels a pixel", source="Tenengrad; Pertuz, Puig & Garcia, Pattern Recognition 46, 2013, GRA6"
)
def sharpness(run: Run) -> float:
    """The root mean square of Sobel's gradient of the canvas's luminance. Noise is sharp, too."""
    from nst.core.image_statistics import sharpness as of

    return of(picture(run))


@register(unit="levels", source="Immerkær, Computer Vision and Image Understanding 64, 1996", better="lower")
def noise(run: Run) -> float:
    """The standard deviation of white noise in the canvas, in levels from 0 to 1, a mean over three channels.

    Immerkær's estimate, which does not see straight edges. Texture as fine as a pixel counts as noise.
    """
    from nst.core.image_statistics import noise_level

    return noise_level(picture(run))
