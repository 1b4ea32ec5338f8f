"""DESIGN section 3 once more, as plainly as it can be said: one cell, float64, autograd, no sharing.

Written from the text and from the formulas, not from `nst`, which is measured against it.
"""

from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCKS = {"vgg16": [2, 2, 3, 3, 3], "vgg19": [2, 2, 4, 4, 4]}


@dataclass
class PlainCell:
    content: Tensor
    style: Tensor
    content_layers: list[str]
    style_layers: dict[str, float]
    activation: str = "conv"
    alpha: float = 5.0
    beta: float = 7000.0
    gamma: float = 1.2
    name: str = "vgg16"
    normalize: bool = False
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def features(self, image: Tensor) -> dict[str, Tensor]:
        x = image.double().unsqueeze(0)
        if self.normalize:
            mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1)
            std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(1, 3, 1, 1)
            x = (x - mean) / std
        wanted = {*self.content_layers, *self.style_layers}
        found = {}
        for block, count in enumerate(BLOCKS[self.name], 1):
            if block > 1:
                x = F.max_pool2d(x, 2)
            for i in range(1, count + 1):
                layer = f"conv{block}_{i}"
                weight = self.tensors[f"{layer}.weight"].double()
                x = F.conv2d(x, weight, self.tensors[f"{layer}.bias"].double(), padding=1)
                before, x = x, torch.relu(x)
                if layer in wanted:
                    found[layer] = before if self.activation == "conv" else x
                if len(found) == len(wanted):
                    return found
        return found

    @cached_property
    def targets(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Features of the content and of the style image."""
        return self.features(self.content), self.features(self.style)

    def losses(self, canvas: Tensor) -> dict[str, Tensor]:
        zero = torch.zeros((), dtype=torch.float64)
        mine, (theirs, styled) = self.features(canvas), self.targets
        out = {"content": zero, "style": zero}
        for layer in self.content_layers:
            out[f"content/{layer}"] = ((mine[layer] - theirs[layer]) ** 2).mean()
            out["content"] = out["content"] + out[f"content/{layer}"]
        for layer, weight in self.style_layers.items():
            c = mine[layer].shape[1]
            g, a = (x.reshape(c, -1) for x in (mine[layer], styled[layer]))
            difference = g @ g.T / g.shape[1] - a @ a.T / a.shape[1]
            out[f"style/{layer}"] = (difference**2).mean() / (4 * c)
            out["style"] = out["style"] + weight * out[f"style/{layer}"]
        x = canvas.double()
        out["tv"] = (x[:, 1:] - x[:, :-1]).abs().mean() + (x[:, :, 1:] - x[:, :, :-1]).abs().mean()
        out["total"] = self.alpha * out["content"] + self.beta * out["style"] + self.gamma * out["tv"]
        return out

    def paint(self, start: Tensor, optimizer: str, evaluations: int) -> list[tuple[float, Tensor]]:
        """(total loss, canvas) at each evaluation, with `torch.optim` as the seed drives it."""
        canvas = start.double().clone().requires_grad_(True)
        seen: list[tuple[float, Tensor]] = []

        def closure() -> Tensor:
            stepper.zero_grad()
            total = self.losses(canvas)["total"]
            total.backward()
            seen.append((total.item(), canvas.detach().clone()))
            return total

        stepper: torch.optim.Optimizer
        stepper = torch.optim.Adam([canvas], lr=0.06) if optimizer == "adam" else torch.optim.LBFGS([canvas])
        while len(seen) < evaluations:
            stepper.step(closure)
        return seen[:evaluations]
