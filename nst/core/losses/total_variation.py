"""Total variation of B canvases at once, with its derivative."""

from torch import Tensor, zeros_like


def total_variation(canvas: Tensor) -> Tensor:
    """Mean absolute vertical difference plus mean absolute horizontal difference, `[b, 3, H, W]` to `[b]`."""
    vertical, horizontal = _differences(canvas)
    return vertical.abs().flatten(1).mean(1) + horizontal.abs().flatten(1).mean(1)


def total_variation_gradient(canvas: Tensor, weight: Tensor) -> Tensor:
    """Derivative of `weight` `[b]` times `total_variation`, `[b, 3, H, W]`; 0 where a difference is 0."""
    vertical, horizontal = _differences(canvas)
    down = vertical.sign().mul_(weight.view(-1, 1, 1, 1) / vertical[0].numel())
    across = horizontal.sign().mul_(weight.view(-1, 1, 1, 1) / horizontal[0].numel())
    gradient = zeros_like(canvas)
    gradient[:, :, 1:] += down
    gradient[:, :, :-1] -= down
    gradient[..., 1:] += across
    gradient[..., :-1] -= across
    return gradient


def _differences(canvas: Tensor) -> tuple[Tensor, Tensor]:
    return canvas[:, :, 1:] - canvas[:, :, :-1], canvas[..., 1:] - canvas[..., :-1]
