"""Which layers a cell reads, and what they need of its images."""

from collections.abc import Sequence
from fractions import Fraction

from nst.config.schema import By, Config
from nst.core.networks import cost, layers_of, shown
from nst.core.scales import shape_at
from nst.core.vgg import LAYERS
from nst.errors import NstError


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


def depth(config: Config) -> int:
    """How many of its network's layers a cell needs, from the first on."""
    place = {layer: number for number, layer in enumerate(layers_of(config.model.name), 1)}
    return max((place.get(layer, len(place)) for layer in _layers(config)), default=0)


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


def check_size(config: Config) -> None:
    """Refuse a size that is too small for the layers."""
    if config.model.name not in LAYERS:
        if config.size < 2:  # total variation compares neighbours
            raise NstError(f"size={config.size}: must be at least 2; give a larger number")
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


def _selected(layers: dict[str, bool], model: str) -> tuple[str, ...]:
    """The layers that are on, shallow to deep, and last those that `model` does not have."""
    place = {layer: number for number, layer in enumerate(layers_of(model))}
    chosen = (layer for layer, on in layers.items() if on)
    return tuple(sorted(chosen, key=lambda layer: place.get(layer, len(place))))
