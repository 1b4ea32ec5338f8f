"""What a network computes in, and which of its products are in TF32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# What the network computes in; canvas, losses and optimizer never go below float32.
DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp64": torch.float64,
}


def auto_precision(device: torch.device) -> str:
    """`tf32` on cards that have it (Ampere and later), else `fp32`.

    Not `bf16`, though it is twice as fast: that its canvases are as good is open (`docs/verdicts.md`).
    """
    return "tf32" if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Allow TF32 convolutions on CUDA inside, if `precision` is `tf32`; forbid TF32 in all else.

    cuDNN's algorithms are those that it knows to be deterministic, and not the fastest of a trial: these
    change from run to run, and the bits with them.
    """
    cudnn = torch.backends.cudnn
    wanted: list[tuple[Any, str, object]] = [
        (torch.backends.cuda.matmul, "fp32_precision", "ieee"),
        (_convolutions(), "fp32_precision", "tf32" if precision == "tf32" else "ieee"),
        (cudnn, "deterministic", True),
        (cudnn, "benchmark", False),
    ]
    before = [getattr(switch, name) for switch, name, _ in wanted]
    try:
        for switch, name, value in wanted:
            setattr(switch, name, value)
        yield
    finally:
        for (switch, name, _), value in zip(wanted, before, strict=True):
            setattr(switch, name, value)


@contextmanager
def as_in_convolutions() -> Iterator[None]:
    """Allow TF32 in products of matrices, too, inside, where convolutions have it.

    For what is a gradient with respect to features, as those of convolutions are. All else, Gram matrices and
    what optimizers multiply, is in full precision.
    """
    products, before = torch.backends.cuda.matmul, torch.backends.cuda.matmul.fp32_precision
    try:
        products.fp32_precision = _convolutions().fp32_precision
        yield
    finally:
        products.fp32_precision = before


def _convolutions() -> Any:
    return getattr(torch.backends.cudnn, "conv")  # noqa: B009  # PyTorch's types do not know it
