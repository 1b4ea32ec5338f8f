"""Which device paints, how many canvases it has room for, and what they cost."""

import math
from collections.abc import Sequence

import psutil
import torch

from nst.config.canvas_shape import canvas_shape
from nst.config.film import all_iterations
from nst.config.schema import Config, content_layers, style_layers
from nst.core.vgg import activation_bytes, features, flops
from nst.errors import NstError

# Rows of a batch at most, unless a number is given: the video of each is written by a process of its own,
# and many systems let a program open 1024 files, of which a process takes three.
MOST_ROWS = 128


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
    free = psutil.virtual_memory().available
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    row = max(map(_row_bytes, configs))
    if row > free:
        raise NstError(
            f"size={config.size}: one canvas needs about {row / 2**30:.1f} GiB with "
            f"optimizer={config.optimizer.name}, and {free / 2**30:.1f} GiB are free on {device}; "
            "give a smaller size"
        )
    fitting = min(max(1, int(0.8 * free / row)), MOST_ROWS)  # the estimate leaves out what libraries take
    wanted = config.hardware.max_batch
    return fitting if wanted == "auto" else int(wanted)


def gflop(network: str, configs: Sequence[Config]) -> float:
    """The arithmetic of one iteration of a batch: every row goes as deep as the deepest."""
    layers = {layer for config in configs for layer in (*content_layers(config), *style_layers(config))}
    return len(configs) * flops(network, layers, canvas_shape(configs[0])) / 1e9


def estimated_gflop(config: Config) -> float:
    """The arithmetic of a whole cell, in GFLOP: what it costs beside others."""
    return gflop(config.model.name, [config]) * all_iterations(config)


def _row_bytes(config: Config) -> int:
    """Memory that one row of a batch takes, about."""
    wide = 8 if config.hardware.precision.name == "fp64" else 4
    narrow = 2 if config.hardware.precision.name == "bf16" else wide
    # Vectors like the canvas: the optimizer's, and a few that come and go in each step.
    canvases = 8 + config.optimizer.canvases
    content, style = content_layers(config), style_layers(config)
    shape = canvas_shape(config)
    activations = activation_bytes(config.model.name, {*content, *style}, shape, narrow)
    losses = config.content_loss.copies * sum(features(layer, shape) for layer in content)
    losses += config.style_loss.copies * sum(features(layer, shape) for layer in style)
    return activations + (int(losses) + canvases * 3 * math.prod(shape)) * wide
