"""The typed schema of `conf/`, and every check that needs neither pixels nor weights."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from enum import Enum, StrEnum
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from nst.config.paths import ROOT
from nst.core.color import Color
from nst.core.init_images import InitImage
from nst.core.losses import ContentLoss, StyleLoss
from nst.core.networks import check_name, cost, layers_of, shown
from nst.core.optimizers import OptimizerConfig, adam, lbfgs  # noqa: F401 - which make themselves known
from nst.core.options import Option
from nst.core.scales import Scale, Scales, shape_at
from nst.core.vgg import LAYERS
from nst.errors import NstError
from nst.io.canvas_format import CanvasFormat, check_format
from nst.io.credentials import check_address
from nst.io.images import Fit

# Groups of which an option is an object that says how to paint, and their classes.
OPTION_GROUPS: dict[str, type[Option]] = {
    "optimizer": OptimizerConfig,
    "init_image": InitImage,
    "content_loss": ContentLoss,
    "style_loss": StyleLoss,
    "scales": Scales,
    "color": Color,
}
if TYPE_CHECKING:
    AnyOptimizer = OptimizerConfig
    AnyInitImage = InitImage
    AnyContentLoss = ContentLoss
    AnyStyleLoss = StyleLoss
    AnyScales = Scales
    AnyColor = Color
else:
    # OmegaConf takes whatever the file of an option has; `typed` makes its object, which checks it.
    AnyOptimizer = AnyInitImage = AnyContentLoss = AnyStyleLoss = AnyScales = AnyColor = Any

# Enums, because OmegaConf checks them while it composes: a wrong value never gets as far as a pixel.
Mode = Enum("Mode", "reconstruct visualize_content visualize_style visualize_both")
Activation = Enum("Activation", "conv relu")
Fallback = StrEnum("Fallback", "vgg16 vgg19")
Pooling = Enum("Pooling", "max average l2")
Padding = Enum("Padding", "zeros replicate")
By = Enum("By", "position layer")
Precision = Enum("Precision", "fp32 tf32 bf16 fp64")
TrackingName = Enum("TrackingName", "mlflow none")


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

    content: str = MISSING
    style: Any = MISSING
    fit: Fit = Fit.keep
    transparency: str = "white"
    style_scale: float = 1.0
    style_weights: list[float] | None = None
    content_mask: str | None = None
    style_mask: str | None = None

    @property
    def styles(self) -> list[str]:
        """The paths of the style images, one or several."""
        return [str(path) for path in (self.style if isinstance(self.style, list) else [self.style])]


@dataclass
class TrackingConfig:
    """Where runs are tracked."""

    name: TrackingName = MISSING
    uri: str | None = None
    experiment: str = "neural-style-transfer"
    canvas_steps: int = 20


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
    def schedule(self) -> list[Scale]:
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
    """Make the schema and the `root` resolver known to Hydra; `conf/config.yaml` begins with them."""
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("root", lambda path: str(ROOT / path), replace=True)
    OmegaConf.register_new_resolver("or", lambda value, other: value or other, replace=True)


def from_composed(composed: DictConfig) -> Config:
    """The composed config as a checked `Config`; raises NstError, one line, on what cannot be painted."""
    _check_keys(composed, Config)
    config = typed(composed)
    check(config)
    return config


def typed(composed: DictConfig) -> Config:
    """The composed config as a `Config`, each option as an object of its own class.

    Raises:
        NstError: there is no such option, or it has no such setting.
        OmegaConfBaseException: a setting is of another type.
    """
    options: dict[str, Option] = {}
    for group in OPTION_GROUPS:
        node = composed[group]
        given: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else {}
        key = group, repr(given)
        if key not in _made:
            _made[key] = _option(group, given)
        options[group] = _made[key]
    config: Any = OmegaConf.to_object(composed)
    for group, option in options.items():
        setattr(config, group, option)
    return config  # type: ignore[no-any-return]


_made: dict[tuple[str, str], Option] = {}  # the cells of a sweep have few, and OmegaConf takes its time


def _option(group: str, given: dict[str, Any]) -> Option:
    """The option that has these settings; raises as `typed` does."""
    base = OPTION_GROUPS[group]
    if "name" not in given:
        raise NstError(f"{group}: has no name, and needs one; give {group}=OPTION")
    if target := given.get("_target_"):
        kind = _imported(str(target), base)
    else:
        kind = type(base.named(str(given["name"])))
    # A run of an older version lacks what has been added since.
    settings = asdict(kind()) | {key: value for key, value in given.items() if key != "_target_"}
    _check_keys(OmegaConf.create(settings), kind, f"{group}.")
    whole = OmegaConf.create({group: OmegaConf.structured(kind)})  # so that errors name the whole key
    made: Any = OmegaConf.to_object(OmegaConf.merge(whole, {group: settings}))
    return made[group]  # type: ignore[no-any-return]


def recorded(values: Mapping[str, Any]) -> DictConfig:
    """The config of a run directory, with what those of older versions do not say.

    Raises as OmegaConf does.
    """
    since = {
        "content_loss": {"name": "mse"},
        "style_loss": {"name": "gram"},
        "scales": {"name": "single"},
        "color": {"name": "style"},
        "images": {"fit": "square"},
    }
    merged = OmegaConf.merge(OmegaConf.structured(Config), since, values)
    assert isinstance(merged, DictConfig)
    return merged


def _imported(target: str, base: type[Option]) -> type[Option]:
    """The class that an option from outside this package names; raises NstError where there is none."""
    key, (module, _, name) = f"{base.group}._target_={target}", target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, TypeError, ValueError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise NstError(f"{key}: cannot be imported ({said}); install it, or see to PYTHONPATH") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise NstError(f"{key}: is no {base.__module__}.{base.__name__}; give a class that is")
    return found


def _check_keys(node: DictConfig, schema: Any, parent: str = "") -> None:
    """Refuse what Hydra's `+KEY=VALUE` and `~KEY` did past the schema."""
    known = [entry.name for entry in fields(schema)]
    for key in map(str, node):
        if key not in known:
            allowed = ", ".join(f"{parent}{name}" for name in known)
            raise NstError(f"{parent}{key}={node[key]}: no such key; allowed are {allowed}")
    for name in known:
        # Not `in node`, which asks for a value: some may be null.
        if name not in list(node) or OmegaConf.is_missing(node, name):
            raise NstError(f"{parent}{name}: has no value, and needs one; give {parent}{name}=VALUE")
        kind = OmegaConf.get_type(node, name)
        if is_dataclass(kind):
            _check_keys(node[name], kind, f"{parent}{name}.")


def check(config: Config) -> None:
    """Refuse values that the types allow and that no canvas can be painted with."""
    _at_least("iterations", config.iterations, 1)
    _at_least("save_every", config.save_every, 1)
    _at_least("fps", config.fps, 1)
    _at_least("seed", config.seed, 0)
    _at_least("tracking.canvas_steps", config.tracking.canvas_steps, 1)
    if config.seed >= 2**63:
        raise NstError(f"seed={config.seed}: allowed are 0 to 2^63 - 1; give a smaller one")
    check_address(config.tracking.uri)
    check_format(config.canvas_format)
    for group in OPTION_GROUPS:
        getattr(config, group).check()
    for key in ("content", "style", "tv"):
        _weight(f"weights.{key}", getattr(config.weights, key))
    for index, weight in enumerate(config.weights.style_layers):
        _weight(f"weights.style_layers[{index}]", weight)
    _weight("hardware.checkpoint", config.hardware.checkpoint)
    if not 0 < config.images.style_scale < math.inf:
        raise NstError(f"images.style_scale={config.images.style_scale}: must be above 0; give another")
    _check_styles(config.images)
    rows = config.hardware.max_batch
    if rows != "auto" and (not isinstance(rows, int) or rows < 1):
        raise NstError(f"hardware.max_batch={rows}: allowed are auto, and numbers from 1; give one of them")
    _check_model(config)
    if config.hardware.recompute not in ("auto", True, False):
        raise NstError(
            f"hardware.recompute={config.hardware.recompute}: allowed are auto, true, false; give one of them"
        )
    check_layers(config, config.model.name)
    _check_size(config)
    _check_device(config.hardware.device)


def _check_styles(images: ImagesConfig) -> None:
    """Refuse styles, weights of styles and masks that do not go together."""
    paths = images.style if isinstance(images.style, list) else [images.style]
    if not paths or not all(isinstance(path, str | int | float) for path in paths):
        raise NstError(
            f"images.style={images.style}: must be a path, or a list of paths as in '[a.jpg,b.jpg]'"
        )
    count, weights = len(paths), images.style_weights
    if weights is not None:
        named = f"images.style_weights={weights}"
        if len(weights) != count:
            raise NstError(
                f"{named}: {len(weights)} weights for {count} style images; give {count}, or null for "
                "equal ones"
            )
        for index, weight in enumerate(weights):
            _weight(f"images.style_weights[{index}]", weight)
        if not any(weights):
            raise NstError(f"{named}: one must be above 0; give another, or null for equal ones")
    if images.style_mask is not None and images.content_mask is None:
        raise NstError(
            f"images.style_mask={images.style_mask}: says nothing alone; give images.content_mask, too"
        )
    if images.style_mask is not None and count > 1:
        raise NstError(
            f"images.style_mask={images.style_mask}: is of one style image, and there are {count}; "
            "give one, or no style_mask, so that each region has a style of its own"
        )
    if images.content_mask is not None and weights is not None:
        raise NstError(
            f"images.style_weights={weights}: each region of images.content_mask has one style; "
            "give images.style_weights=null"
        )


def content_layers(config: Config) -> tuple[str, ...]:
    """The selected content layers of the mode, shallow to deep."""
    return _selected(config.content_layers, config.model.name) if config.uses_content else ()


def style_layers(config: Config) -> dict[str, float]:
    """The selected style layers of the mode, shallow to deep, each with its weight.

    `weights.by=position` is the seed's: the n-th *selected* layer has the n-th weight. With
    `weights.by=layer` a layer has the weight of its block, whatever else is selected.
    """
    if not config.uses_style:
        return {}
    weights, selected = config.weights.style_layers, _selected(config.style_layers, config.model.name)
    if config.weights.by is By.layer:
        return {layer: weights[int(layer[4]) - 1] for layer in selected}
    return dict(zip(selected, weights, strict=False))


def check_layers(config: Config, model: str) -> None:
    """Refuse layers that the mode lacks, that `model` does not have, or that have no weight."""
    needed = (
        ("content_layers", config.uses_content, config.content_layers),
        ("style_layers", config.uses_style, config.style_layers),
    )
    for key, used, layers in needed:
        selected = _selected(layers, model)
        if used and not selected:
            raise NstError(
                f"{key}=none: mode={config.mode.name} needs at least one; give {key}=conv1_1, or "
                f"several as '{key}=[conv2_1,conv4_1]'"
            )
        for layer in selected:
            if layer not in layers_of(model):
                allowed = shown(layers_of(model))
                raise NstError(f"{key}={layer}: {model} has no such layer; allowed are {allowed}, or none")
    count, weights = len(_selected(config.style_layers, model)), len(config.weights.style_layers)
    if config.uses_style and config.weights.by is By.position and count > weights:
        raise NstError(
            f"weights.style_layers={list(config.weights.style_layers)}: {weights} weights by position "
            f"for {count} style layers; give {count} weights, or weights.by=layer"
        )
    if config.uses_style and config.weights.by is By.layer and weights < 5:
        raise NstError(
            f"weights.style_layers={list(config.weights.style_layers)}: weights.by=layer needs one for "
            "each of the 5 blocks; give 5 weights"
        )


def _check_size(config: Config) -> None:
    if config.model.name not in LAYERS:
        _at_least("size", config.size, 2)  # total variation compares neighbours
        cost(config.model.name, _layers(config), (config.size, config.size))
        return
    deepest, least = _needs(config)
    key, first = _smallest(config)
    if first < least:
        raise NstError(
            f"{key}={first}: the features of {deepest} need at least {least} pixels; "
            f"give {key}={least} or more"
        )


def check_shape(config: Config, named: str, shape: Sequence[int]) -> None:
    """Refuse an image of (height, width) that is too narrow for the layers; `named` is its key and path."""
    name, first = _smallest(config)
    height, width = shape_at(shape, Fraction(first, config.size))
    if config.model.name not in LAYERS:
        cost(config.model.name, _layers(config), (height, width))
        return
    deepest, least = _needs(config)
    if min(height, width) < least:
        raise NstError(
            f"{named}: is {width} x {height} pixels at "
            f"{name}={first} and images.fit={config.images.fit.name}, and the features of {deepest} need at "
            f"least {least} a side; give a larger {name}, or a larger images.style_scale for a style image"
        )


def _smallest(config: Config) -> tuple[str, int]:
    """The key of the first scale's size, and that size."""
    first = config.schedule[0].size
    return "size" if first == config.size else "scales.smallest", first


def _layers(config: Config) -> tuple[str, ...]:
    """All layers that are read."""
    return (*content_layers(config), *style_layers(config))


def _needs(config: Config) -> tuple[str, int]:
    """The deepest layer and how many pixels a side it needs: each block halves them, and leaves one."""
    deepest = max(_layers(config), key=lambda layer: layer[4])
    return deepest, max(2 ** (int(deepest[4]) - 1), 2)  # total variation compares neighbours


def _check_device(device: str) -> None:
    kind, _, index = device.partition(":")
    if not (device in ("auto", "cpu", "cuda") or (kind == "cuda" and index.isdecimal())):
        raise NstError(
            f"hardware.device={device}: allowed are auto, cpu, cuda, cuda:0, cuda:1, ...; "
            "auto takes a GPU where there is one"
        )


def _check_model(config: Config) -> None:
    """Refuse a network that there is not, and what has a meaning for VGG alone elsewhere."""
    model = config.model
    check_name(model.name)
    if model.name in LAYERS:
        return
    for key, value, only in (
        ("model.pooling", model.pooling.name, "max"),
        ("model.padding", model.padding.name, "zeros"),
        ("model.fallback", str(model.fallback), "None"),
        ("activation", config.activation.name, "relu"),
        ("weights.by", config.weights.by.name, "position"),
        ("hardware.recompute", str(config.hardware.recompute).replace("False", "auto"), "auto"),
    ):
        if value != only:
            said = "null" if only == "None" else only
            raise NstError(
                f"{key}={value}: only vgg16 and vgg19 have a choice there, and {model.name} is as it is; "
                f"give {key}={said}"
            )


def _selected(layers: dict[str, bool], model: str) -> tuple[str, ...]:
    """The layers that are on, shallow to deep, and last those that `model` does not have."""
    place = {layer: number for number, layer in enumerate(layers_of(model))}
    chosen = (layer for layer, on in layers.items() if on)
    return tuple(sorted(chosen, key=lambda layer: place.get(layer, len(place))))


def _at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise NstError(f"{key}={value}: must be at least {least}; give a larger number")


def _weight(key: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise NstError(f"{key}={value}: must be a finite number, 0 or more; give another")
