"""Style transfer as it is usually written, one canvas at a time: what the engine is measured against.

Autograd, `torch.optim` and `nn.Sequential`; of `nst` only the cell and the weights: the work is the same.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst.core.cell import Cell
from nst.core.vgg import LAYERS


class PlainVGG(nn.Module):
    """A VGG as torchvision builds it, up to `deepest`."""

    def __init__(self, name: str, tensors: Mapping[str, Tensor], deepest: str, *, inplace: bool) -> None:
        super().__init__()
        modules: dict[str, nn.Module] = {}
        for layer in LAYERS[name]:
            if layer.endswith("_1") and layer != "conv1_1":
                modules[f"pool{layer[4]}"] = nn.MaxPool2d(2, 2)
            weight, bias = tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]
            convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            convolution.load_state_dict({"weight": weight, "bias": bias})
            modules[layer] = convolution
            modules[layer.replace("conv", "relu")] = nn.ReLU(inplace=inplace)
            if layer == deepest:
                break
        self.layers = nn.Sequential()
        for key, module in modules.items():
            self.layers.add_module(key, module)

    def features(self, image: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        """What the layers `wanted` give for one image `[1, 3, H, W]`."""
        x, found = image.to(next(self.parameters()).dtype), {}
        for name, layer in self.layers.named_children():
            x = layer(x)
            if name in wanted:
                found[name] = x
        return found


class PlainLoop:
    """Paints one canvas.

    Args:
        cached: whether the targets are computed once (*textbook*), or with two more passes an iteration
            (*seed-like*), where torchvision's ReLUs also work in place.
        frozen: whether the weights are left out of autograd. The seed does not think of it.
        optimizer: `adam` or `lbfgs`.
        dtype: of the network; canvas and optimizer are float32.
        inner: evaluations in one step of `torch.optim.LBFGS`.
    """

    def __init__(
        self,
        name: str,
        tensors: Mapping[str, Tensor],
        cell: Cell,
        canvas: Tensor,
        device: torch.device,
        optimizer: str,
        *,
        cached: bool,
        frozen: bool,
        dtype: torch.dtype = torch.float32,
        inner: int = 20,
    ) -> None:
        self.cell = cell
        self.wanted = {*cell.content_layers, *cell.style_layers}
        deepest = max(self.wanted, key=LAYERS[name].index)
        self.network = PlainVGG(name, tensors, deepest, inplace=not cached).to(device, dtype)
        self.network.eval().requires_grad_(not frozen)
        self.content, self.style, canvas = (
            image.unsqueeze(0).to(device) for image in (cell.content, cell.styles[0], canvas)
        )
        self.canvas = canvas.clone().requires_grad_(True)
        self.targets: tuple[dict[str, Tensor], dict[str, Tensor]] | None = None
        if cached:
            with torch.no_grad():
                self.targets = self._targets()
        self.optimizer: torch.optim.Optimizer
        if optimizer == "lbfgs":
            self.optimizer = torch.optim.LBFGS([self.canvas], max_iter=inner)
        else:
            self.optimizer = torch.optim.Adam([self.canvas], lr=0.06)
        self.evaluations = 0

    def run(self, iterations: int) -> None:
        """At least `iterations` evaluations; `evaluations` counts them, for L-BFGS does `inner` at a time."""
        until = self.evaluations + iterations
        while self.evaluations < until:
            self.optimizer.step(self._closure)

    def _closure(self) -> float:
        self.evaluations += 1
        self.optimizer.zero_grad()
        content, grams = self.targets or self._targets()
        mine = self.network.features(self.canvas, self.wanted)
        loss = self.cell.tv_weight * _total_variation(self.canvas)
        for layer, weight in self.cell.content_layers.items():
            loss = loss + self.cell.content_weight * weight * F.mse_loss(mine[layer], content[layer])
        for layer, weight in self.cell.style_layers.items():
            style = F.mse_loss(_gram(mine[layer]), grams[layer]) / (4 * mine[layer].shape[1])
            loss = loss + self.cell.style_weight * weight * style
        loss.backward()
        return loss  # type: ignore[return-value]  # torch's stubs want a float, its L-BFGS makes one

    def _targets(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Feature maps of the content image, Gram matrices of the style image."""
        style = self.network.features(self.style, self.wanted)
        grams = {layer: _gram(style[layer]) for layer in self.cell.style_layers}
        return self.network.features(self.content, self.wanted), grams


def _gram(features: Tensor) -> Tensor:
    rows = features.flatten(2)[0]
    return (rows @ rows.T).float() / rows.shape[1]


def _total_variation(x: Tensor) -> Tensor:
    vertical, horizontal = x[:, :, 1:] - x[:, :, :-1], x[..., 1:] - x[..., :-1]
    return vertical.abs().mean() + horizontal.abs().mean()
