"""Any classification network of torchvision, read at the nodes of its graph, with autograd's way back."""

import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from nst.core.network import Cost, Reached, Tap, ignore, imagenet_statistics
from nst.core.rows import parts
from nst.errors import NstError


@cache
def names() -> tuple[str, ...]:
    """What torchvision has."""
    return tuple(torchvision.models.list_models(module=torchvision.models))


@cache
def layers(name: str) -> tuple[str, ...]:
    """The nodes of a network's graph and the modules around them, in the order of the forward pass.

    A module, such as `features.3`, is what its last node gives, as torchvision has it.
    """
    nodes = get_graph_node_names(_shapes(name), suppress_diff_warning=True)[1][1:]  # without the image
    last: dict[str, int] = {}
    for number, node in enumerate(nodes):
        steps = node.split(".")
        last |= {".".join(steps[:count]): number for count in range(1, len(steps) + 1)}
    return tuple(sorted(last, key=lambda layer: (last[layer], -len(layer))))


def layout(name: str) -> Iterator[tuple[tuple[str, ...], list[int]]]:
    """The tensors of a network's state dict that decide its features: each one's name, and its shape."""
    for key, tensor in _shapes(name).state_dict().items():
        if not key.endswith("num_batches_tracked"):
            yield (key, _old(key)), list(tensor.shape)


def random_tensors(name: str) -> dict[str, Tensor]:
    """A network's tensors as torchvision draws them, the same each time."""
    with torch.random.fork_rng([]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that drawing takes its time
        torch.manual_seed(0)
        drawn = torchvision.models.get_model(name, weights=None).state_dict()
    return {key: drawn[key] for (key, _), _ in layout(name)}


@dataclass
class Pass:
    """One forward pass; of each part of the rows its images, and what came out at the taps."""

    features: dict[Tap, Tensor]
    images: list[Tensor]
    outputs: list[list[Tensor]]


class TorchvisionNetwork:
    """A torchvision network up to its deepest tap, in evaluation mode: `[B, 3, H, W]` in [0, 1] to features.

    Nothing in it works in place, so that a layer's features are that layer's. On the CPU its rows go one by
    one: what its operations do with a row in a batch is not ours to know.

    Args:
        name: one of `names()`.
        tensors: its state dict, as `layout` has it.
        taps: where features will be read. A node is what it is: `activation` is `relu`, and means nothing.
        normalize: subtract ImageNet's mean and divide by its standard deviation first.
    """

    def __init__(
        self,
        name: str,
        tensors: Mapping[str, Tensor],
        taps: Collection[Tap],
        *,
        normalize: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.name, self.taps, self.layers = name, frozenset(taps), layers(name)
        self.device, self.dtype, self.normalize = torch.device(device), dtype, normalize
        self.wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.mean, self.std = imagenet_statistics(self.device, self.wide)
        self._order = sorted(taps, key=lambda tap: self.layers.index(tap.layer))
        model = _model(name)
        state = model.state_dict()
        state.update(tensors)  # in place: it knows of which version it is
        model.load_state_dict(state, assign=True)
        module: Any
        for module in model.modules():
            if getattr(module, "num_batches_tracked", None) is not None:
                module.num_batches_tracked = None  # of training alone, and published files may lack it
        model.requires_grad_(False)
        self._network = _extractor(model, [tap.layer for tap in self._order]).to(self.device, dtype)

    def forward(
        self,
        images: Tensor,
        rows: Mapping[str, int] | None = None,
        reached: Reached = ignore,
    ) -> Pass:
        """Run `images` `[B, 3, H, W]` through the network, all of them, keeping what is tapped."""
        with torch.no_grad():
            if self.normalize:
                images = (images - self.mean) / self.std
            # Copies, because an operation may round by where in memory its numbers begin.
            some = [images[rows].to(self.dtype, copy=True) for rows in parts(len(images), self.device)]
        run = Pass({}, [x.requires_grad_() for x in some], [])
        with torch.enable_grad():
            for x in run.images:
                found = self._network(x)
                run.outputs.append([found[tap.layer] for tap in self._order])
        for number, tap in enumerate(self._order):
            mine = [outputs[number].detach() for outputs in run.outputs]
            run.features[tap] = mine[0] if len(mine) == 1 else torch.cat(mine)
            reached(tap, run.features[tap])
        return run

    def backward(self, run: Pass, add_gradient: Callable[[Tap, Tensor], None]) -> Tensor:
        """The gradient `[B, 3, H, W]` with respect to the images of `run`, which it uses up."""
        with torch.no_grad():
            gradients = []
            for tap in self._order:
                features = run.features[tap]
                gradients.append(torch.zeros_like(features, memory_format=torch.contiguous_format))
                add_gradient(tap, gradients[-1])
        found = [
            torch.autograd.grad(outputs, x, [gradient[rows].clone() for gradient in gradients])[0]
            for rows, x, outputs in zip(
                parts(len(gradients[0]), self.device), run.images, run.outputs, strict=True
            )
        ]
        gradient = torch.cat(found)
        return gradient / self.std if self.normalize else gradient


@cache
def cost(name: str, at: frozenset[str], shape: tuple[int, int]) -> Cost:
    """What a row takes between an image of (height, width) and the deepest of the layers `at`, and back.

    It is counted by running shapes without numbers.

    Raises:
        NstError: the network does not take such an image, or a layer does not give feature maps.
    """
    counter, kept = FlopCounterMode(display=False), _Outputs()
    try:
        extractor = _extractor(_shapes(name), sorted(at))
        with counter, kept:
            found = extractor(torch.empty(1, 3, *shape, device="meta"))
    except Exception as error:
        said, size = " ".join(str(error).split())[:100], f"{shape[1]} x {shape[0]}"
        raise NstError(
            f"model.name={name}: does not take an image of {size} ({said}); give another size"
        ) from error
    for layer, features in found.items():
        if not isinstance(features, Tensor) or features.dim() != 4:
            had = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise NstError(
                f"model.name={name}: {layer} gives {had}, no feature maps [B, C, H, W]; give another layer"
            )
    numbers = {layer: features.numel() for layer, features in found.items()}
    # What autograd keeps, and two gradients of the largest at a time.
    weights = sum(tensor.numel() for tensor in extractor.parameters())
    return Cost(2.0 * counter.get_total_flops(), sum(kept.numbers) + 2 * max(kept.numbers), numbers, weights)


class _Outputs(TorchDispatchMode):
    """Counts the numbers in what each operation gives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers: list[int] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        given = function(*args, **(kwargs or {}))
        if isinstance(given, Tensor) and given._base is None:
            self.numbers.append(given.numel())
        return given


def _model(name: str) -> nn.Module:
    """A network without numbers; nothing in it works in place."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what drawing weights would take
        try:
            with torch.device("meta"):
                model: nn.Module = torchvision.models.get_model(name, weights=None)
        except NotImplementedError:  # some compute their sizes with tensors
            model = torchvision.models.get_model(name, weights=None).to("meta")
    module: Any
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
        if hasattr(module, "transform_input"):
            module.transform_input = True  # from the normalisation of all to that of the published weights
    return model.eval()


@cache
def _shapes(name: str) -> nn.Module:
    return _model(name)


def _extractor(model: nn.Module, at: list[str]) -> Any:
    """`[B, 3, H, W]` to the outputs of the nodes `at`, by their names."""
    extractor = create_feature_extractor(model, at, suppress_diff_warning=True).eval()
    for node in extractor.graph.nodes:
        if node.kwargs.get("inplace"):
            node.kwargs = {**node.kwargs, "inplace": False}
    extractor.recompile()
    return extractor


def _old(key: str) -> str:
    """A tensor's name in files of before 2018, which torchvision's DenseNets still come in."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))(\d\.)", r"\1.\2", key)
