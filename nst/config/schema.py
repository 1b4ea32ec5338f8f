"""The typed schema of `conf/`."""

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from nst.config.paths import ROOT
from nst.io.canvas_format import CanvasFormat
from nst.io.fit import Fit

if TYPE_CHECKING:
    from nst.core.color import Color as AnyColor
    from nst.core.init_images import InitImage as AnyInitImage
    from nst.core.losses import ContentLoss as AnyContentLoss
    from nst.core.losses import StyleLoss as AnyStyleLoss
    from nst.core.optimizers import OptimizerConfig as AnyOptimizer
    from nst.core.scales import Scale
    from nst.core.scales import Scales as AnyScales
else:
    # OmegaConf takes whatever the file of an option has; `typed` makes its object, which checks it. Without
    # their classes nothing here imports torch: `--help`, and what Hydra refuses, need not wait for it.
    AnyOptimizer = AnyInitImage = AnyContentLoss = AnyStyleLoss = AnyScales = AnyColor = Any

# Enums, because OmegaConf checks them while it composes: a wrong value never gets as far as a pixel.
Mode = Enum("Mode", "reconstruct visualize_content visualize_style visualize_both")
Activation = Enum("Activation", "conv relu")
Fallback = StrEnum("Fallback", "vgg16 vgg19")
Pooling = Enum("Pooling", "max average l2")
Padding = Enum("Padding", "zeros replicate")
By = Enum("By", "position layer")
Precision = Enum("Precision", "fp32 tf32 bf16 fp64 auto")
TrackingName = Enum("TrackingName", "mlflow none")


def told(text: str) -> dict[str, str]:
    """What `--help` says of a field that no file of `conf/` comments on."""
    return {"help": text}


@dataclass
class ModelConfig:
    """The network: which, with what weights, and what to paint with where they cannot be had."""

    name: str = MISSING
    weights: str = "imagenet"
    fallback: Fallback | None = None
    normalize: bool = False
    pooling: Pooling = Pooling.max
    padding: Padding = Padding.zeros


@dataclass
class WeightsConfig:
    """Weights of the three losses, and of each style layer."""

    content: float = MISSING
    style: float = MISSING
    tv: float = MISSING
    by: By = MISSING
    style_layers: list[float] = MISSING


@dataclass
class ImagesConfig:
    """Paths of the content and the style images, and how they are brought to `size`.

    Attributes:
        style: a path, or a list of paths: the canvas is painted after all of them.
        style_weights: of each style, divided by their sum; null is equal weights.
        fit: of the content image, and so of the canvas: `keep` its shape, with a long side of `size`; `crop`
            its middle square; `square`, squashed to one, and the style image too, as the seed does.
        transparency: `white` lays transparent pixels on it; `keep` also gives the canvas the opacity of the
            content image, a path that of another image.
        style_scale: the style image's long side, as a multiple of `size`.
        content_mask, style_mask: label images of the size of their image; each colour is a region, which
            takes the style of the region of that colour. Without `style_mask`, the n-th region, from dark to
            bright, takes the n-th style.
    """

    content: str = field(default=MISSING, metadata=told("a path; of a film, each frame"))
    style: Any = field(default=MISSING, metadata=told("a path, or '[a.jpg,b.jpg]', a blend of both"))
    fit: Fit = field(default=Fit.keep, metadata=told("shape of the content, its middle, or squashed"))
    transparency: str = field(
        default="white", metadata=told("laid on white; keep: the canvas has the content's; or a path")
    )
    style_scale: float = field(default=1.0, metadata=told("long side of the style image, times size"))
    style_weights: list[float] | None = field(
        default=None, metadata=told("of several styles, '[0.7,0.3]'; null: equal")
    )
    content_mask: str | None = field(
        default=None, metadata=told("an image whose colours are regions, each with a style of its own")
    )
    style_mask: str | None = field(
        default=None,
        metadata=told("those of the style image; null: the n-th region has the n-th style"),
    )

    @property
    def styles(self) -> list[str]:
        """The paths of the style images, one or several."""
        return [str(path) for path in (self.style if isinstance(self.style, list) else [self.style])]


@dataclass
class FramesConfig:
    """How a film is painted, where `images.content` is one.

    Attributes:
        warm: whether each frame begins from the canvas of the one before.
        iterations: of each frame but the first, where it does; None for a quarter of the first one's.
        most: how many frames are painted at most; None for all.
    """

    warm: bool = True
    iterations: int | None = None
    most: int | None = None


@dataclass
class TrackingConfig:
    """Where runs are tracked."""

    name: TrackingName = MISSING
    uri: str | None = None
    experiment: str = "neural-style-transfer"
    canvas_steps: int = 3


@dataclass
class HardwareConfig:
    """What paints, and how exactly."""

    device: str = MISSING
    precision: Precision = MISSING
    capture: bool = True
    max_batch: int | str = "auto"
    recompute: bool | str = "auto"
    checkpoint: float = MISSING


@dataclass
class Config:
    """One cell: everything that decides a canvas, and where it is painted and tracked."""

    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: AnyOptimizer = MISSING
    init_image: AnyInitImage = MISSING
    content_loss: AnyContentLoss = MISSING
    style_loss: AnyStyleLoss = MISSING
    scales: AnyScales = MISSING
    color: AnyColor = MISSING
    content_layers: dict[str, bool] = field(default_factory=dict)
    style_layers: dict[str, bool] = field(default_factory=dict)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    images: ImagesConfig = field(default_factory=ImagesConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    mode: Mode = MISSING
    activation: Activation = MISSING
    size: int = MISSING
    iterations: int = MISSING
    save_every: int = MISSING
    fps: int = MISSING
    canvas_format: CanvasFormat = CanvasFormat.png
    seed: int = MISSING
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    notes: str | None = None
    outputs: str = MISSING
    resume: bool = MISSING
    plan: bool = MISSING

    @property
    def schedule(self) -> "list[Scale]":
        """The sizes that the canvas has, and the iterations at each."""
        return self.scales.schedule(self.size, self.iterations)

    @property
    def all_iterations(self) -> int:
        """Those of all scales."""
        return sum(scale.iterations for scale in self.schedule)

    @property
    def uses_content(self) -> bool:
        """Whether this mode has a content loss."""
        return self.mode is not Mode.visualize_style

    @property
    def uses_style(self) -> bool:
        """Whether this mode has a style loss."""
        return self.mode is not Mode.visualize_content


def register() -> None:
    """Make the schema and the resolvers known to Hydra; `conf/config.yaml` begins with them."""
    ConfigStore.instance().store(name="schema", node=Config)
    # Hydra copies all of it whenever it looks into a group, and takes copies of what it then reads in it.
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]
    register_resolvers()


def register_resolvers() -> None:
    """Make known what configs refer to beside their own values."""
    OmegaConf.register_new_resolver("root", lambda path: str(ROOT / path), replace=True)
    # Of a study it has no date, so that the same command goes on.
    OmegaConf.register_new_resolver("study_dir", lambda name: name and f"study/{name}", replace=True)
    OmegaConf.register_new_resolver("or", lambda value, other: value or other, replace=True)
