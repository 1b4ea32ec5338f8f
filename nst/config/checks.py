"""Every check of a config that needs neither pixels nor weights."""

import math

from nst.config.layers import (
    check_layers,
    check_size,
)
from nst.config.options import OPTION_GROUPS
from nst.config.schema import Config, ImagesConfig
from nst.core.networks import check_name
from nst.core.regions import check_masks
from nst.core.vgg import LAYERS
from nst.errors import NstError
from nst.io.canvas_format import check_format
from nst.io.credentials import check_address


def check(config: Config) -> None:
    """Refuse values that the types allow and that no canvas can be painted with."""
    _at_least("iterations", config.iterations, 1)
    _at_least("save_every", config.save_every, 1)
    _at_least("fps", config.fps, 1)
    _at_least("seed", config.seed, 0)
    for key in ("iterations", "most"):
        if (most := getattr(config.frames, key)) is not None:
            _at_least(f"frames.{key}", most, 1)
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
    check_size(config)
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
    check_masks(images.content_mask, images.style_mask, count, weights, "images.")


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


def _check_device(device: str) -> None:
    kind, _, index = device.partition(":")
    if not (device in ("auto", "cpu", "cuda") or (kind == "cuda" and index.isdecimal())):
        raise NstError(
            f"hardware.device={device}: allowed are auto, cpu, cuda, cuda:0, cuda:1, ...; "
            "auto takes a GPU where there is one"
        )


def _at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise NstError(f"{key}={value}: must be at least {least}; give a larger number")


def _weight(key: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise NstError(f"{key}={value}: must be a finite number, 0 or more; give another")
