"""Which device paints, how many canvases it has room for, and what they cost."""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import psutil
import torch

from nst.config.canvas_shape import canvas_shape
from nst.config.film import frames_cost
from nst.config.layers import content_layers, style_layers
from nst.config.schema import Config, Precision
from nst.core import networks
from nst.core.network import Cost
from nst.core.optimizers.lbfgs import LBFGSConfig
from nst.core.precision import auto_precision
from nst.core.scales import shape_at
from nst.core.vgg import LAYERS
from nst.errors import NstError

# Rows of a batch at most, unless a number is given: the video of each is written by a process of its own,
# and many systems let a program open 1024 files, of which a process takes three.
MOST_ROWS = 128
SHORT = 20  # an L-BFGS history that takes a fifth, and costs few iterations


def device_of(config: Config) -> torch.device:
    """Where to paint; raises NstError where there is no such device."""
    wanted = config.hardware.device
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise NstError(
            f"hardware.device={wanted}: this machine has {torch.cuda.device_count()} CUDA devices; "
            "give another, or auto"
        )
    return device


def decided(config: Config) -> Config:
    """`config` with a precision where it says `auto`: that of the device that is here.

    It decides the bits, so other machines that paint cells of a sweep are given the same.
    """
    if config.hardware.precision is not Precision.auto:
        return config
    precision = Precision[auto_precision(device_of(config))]
    return replace(config, hardware=replace(config.hardware, precision=precision))


def device_name(device: torch.device) -> str:
    """What people call it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def most_rows(configs: Sequence[Config]) -> int:
    """How many rows a batch of such cells may have: `hardware.max_batch`, or what fits in memory.

    What fits is at most `MOST_ROWS`.

    Raises:
        NstError: not even one fits.
    """
    config, device = configs[0], device_of(configs[0])
    free, network = _free(device), _network_bytes(configs)
    row = max(_row_bytes(config, recompute=recomputes([config])) for config in configs)
    if network + row > free:
        raise NstError(
            f"size={config.size}: one canvas needs about {(network + row) / 2**30:.1f} GiB with "
            f"optimizer={config.optimizer.name}, and {free / 2**30:.1f} GiB are free on {device}; "
            f"give a smaller size{_advice(config)}"
        )
    # The estimate leaves out what libraries take.
    fitting = min(max(1, int((0.8 * free - network) / row)), MOST_ROWS)
    wanted = config.hardware.max_batch
    return fitting if wanted == "auto" else int(wanted)


def recomputes(configs: Sequence[Config]) -> bool:
    """Whether a batch of such cells recomputes activations (`nst.core.vgg`): where not all fit in memory.

    Canvases are the same bits either way.
    """
    config, wanted = configs[0], configs[0].hardware.recompute
    if wanted != "auto" or config.model.name not in LAYERS:
        return wanted is True
    whole = _network_bytes(configs) + sum(_row_bytes(config, recompute=False) for config in configs)
    return whole > 0.8 * _free(device_of(config))


def memory(configs: Sequence[Config]) -> float:
    """What a batch of such cells takes at most, about, in GiB."""
    recompute = recomputes(configs)
    rows = sum(_row_bytes(config, recompute=recompute) for config in configs)
    return (_network_bytes(configs) + rows) / 2**30


def costs(network: str, configs: Sequence[Config]) -> list[tuple[int, float]]:
    """At each scale of a batch its iterations and the GFLOP of one.

    A row of VGG goes as deep as its own layers, of another network as deep as the deepest of the batch.
    """
    each = [{*content_layers(config), *style_layers(config)} for config in configs]
    if network not in LAYERS:
        each = [set[str]().union(*each)] * len(each)
    shape, size = canvas_shape(configs[0]), configs[0].size
    shapes = [shape_at(shape, Fraction(scale.size, size)) for scale in configs[0].schedule]
    return [
        (scale.iterations, sum(networks.cost(network, layers, shape).flop for layers in each) / 1e9)
        for scale, shape in zip(configs[0].schedule, shapes, strict=True)
    ]


def gflop(network: str, configs: Sequence[Config]) -> float:
    """The arithmetic of all iterations of a batch."""
    return sum(iterations * cost for iterations, cost in costs(network, configs))


def estimated_gflop(config: Config) -> float:
    """The arithmetic of a whole cell, in GFLOP: what it costs beside others."""
    return gflop(config.model.name, [config]) * frames_cost(config)


def _network_bytes(configs: Sequence[Config]) -> int:
    """Memory that the weights of a batch's network take."""
    # On the CPU convolutions also have them in blocks, for either way (`nst.core.convolution`).
    copies = 3 if device_of(configs[0]).type == "cpu" and configs[0].model.name in LAYERS else 1
    return copies * max(_cost(config).weights * _bytes(config)[1] for config in configs)


def _bytes(config: Config) -> tuple[int, int]:
    """Of a number of canvases and losses, and of one of the network's."""
    wide = 8 if config.hardware.precision.name == "fp64" else 4
    return wide, 2 if config.hardware.precision.name == "bf16" else wide


def _cost(config: Config, *, recompute: bool = False) -> Cost:
    layers = {*content_layers(config), *style_layers(config)}
    return networks.cost(config.model.name, layers, canvas_shape(config), recompute=recompute)


def _row_bytes(config: Config, *, recompute: bool) -> int:
    """Memory that one row of a batch takes, about: at the last scale, which takes most."""
    wide, narrow = _bytes(config)
    # Vectors like the canvas: the optimizer's, and a few that come and go in each step.
    canvases = 8 + config.optimizer.canvases + (config.optimizer.average > 0 or config.optimizer.clamps)
    content, style = content_layers(config), style_layers(config)
    shape = canvas_shape(config)
    cost = _cost(config, recompute=recompute)
    losses = config.content_loss.copies * sum(cost.features[layer] for layer in content)
    # Each style has a term of its own, unless they are blended, or each in its region.
    terms = 1 if config.style_loss.blends or config.images.content_mask else len(config.images.styles)
    losses += terms * config.style_loss.copies * sum(cost.features[layer] for layer in style)
    return cost.kept * narrow + (int(losses) + canvases * 3 * math.prod(shape)) * wide


def _free(device: torch.device) -> int:
    """Bytes of memory that are free on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


def _advice(config: Config) -> str:
    """What else than a smaller size would help."""
    if isinstance(config.optimizer, LBFGSConfig) and config.optimizer.history_size > SHORT:
        return f", or a shorter history, as with optimizer.history_size={SHORT}"
    return ""
