"""Where a network's weights come from: the cache, torchvision, a package index, a file, or chance."""

import functools
import hashlib
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from nst.core.metrics import Scorer
from nst.core.vgg import BLOCKS, CHANNELS
from nst.errors import NstError
from nst.io import package_index
from nst.io.download import DEADLINE_SECONDS, UnusableError, download
from nst.io.files import atomic_write, cache_folder
from nst.io.text import escape_unprintable

log = logging.getLogger(__name__)
_warn_once = functools.cache(log.warning)

HEADS = "vgg16-lpips"  # LPIPS's heads, which the cache keeps as it keeps a network

# `Weights.sha256` of what is published. VGG-19's is not known here: only the start of its file's
# hash, which torchvision puts in the file name.
KNOWN = {
    "vgg16": "fa5ca40027bac44165b4c3d11ac47886456ae2971b50abd9969af8bf65e9c0e7",
    HEADS: "39cfe4f3a291dcea3ab5830611f67e8dc4eb457134f69fda974a32db5641ed69",
}

# Where torchvision has them: to ask it, as for other networks, takes seconds.
ADDRESSES = {
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
}

Found = dict[str, Mapping[str, object]]  # what a source had in one file: tensors by name, of each

LOCK_SECONDS = 2 * DEADLINE_SECONDS  # for another process to finish its download


@dataclass(frozen=True)
class Weights:
    """A network's tensors (or LPIPS's heads), on the CPU in float32; shared, not to be written to."""

    # Of a VGG its convolutions, conv1_1.weight [out, in, 3, 3], conv1_1.bias [out], and so on; of any other
    # network of torchvision its state dict.
    tensors: dict[str, Tensor]
    name: str  # of the network, which may be the fallback of what was asked
    sha256: str  # of the tensors' names, shapes and values, whatever file they came in
    source: str  # random, torchvision, package index, or the path of the file


def load_weights(name: str, weights: str, *, fallback: str | None = None) -> Weights:
    """Get the weights of `name` (`vgg16`, `vgg19`, or any network of torchvision's), once a process.

    Args:
        name: the network asked for.
        weights: `imagenet` (from the cache, else fetched into it), `random`, or the path of a
            `.safetensors`, `.pth` or `.pt` file, a state dict with torchvision's names or those of `Weights`.
        fallback: the network whose ImageNet weights do when `name`'s cannot be had.

    Raises:
        NstError: neither can be had, the file does not hold `name`'s weights, or the cache cannot
            be written.
    """
    if weights == "random":
        _warn_once(
            f"model.weights=random: {name} has seen no image, its canvases are meaningless; "
            "for timing and tests only"
        )
        return _random(name)
    if weights != "imagenet":
        path = Path(os.path.expanduser(weights))  # of which a user that is unknown is left as it is
        return _from_path(name, path, os.path.getmtime(path) if os.path.exists(path) else 0.0)

    found = _imagenet(name)
    if isinstance(found, Weights):
        return found
    advice = f"give model.weights=PATH, or copy another machine's {name}.safetensors to {cache_folder()}"
    if fallback is None or fallback == name:
        raise NstError(f"model.weights=imagenet: {name} cannot be had ({found}); {advice}")
    instead = _imagenet(fallback)
    if not isinstance(instead, Weights):
        raise NstError(
            f"model.weights=imagenet: neither {name} ({found}) nor model.fallback={fallback} "
            f"({instead}) can be had; {advice}"
        )
    _warn_once(
        f"{name} cannot be had ({found}); painting with {fallback} instead. "
        "model.fallback=null makes this an error."
    )
    return instead


def lpips_heads() -> tuple[Tensor, ...]:
    """Get how much each channel of VGG-16 counts in LPIPS (Zhang et al., CVPR 2018, version 0.1).

    They come in one file with VGG-16, which the cache then has too: who wants both and asks for these
    first never waits for torchvision's 528 MB.

    Returns:
        `[C]` each, none negative, for the outputs of conv1_2, conv2_2, conv3_3, conv4_3 and conv5_3
        after their ReLU; on the CPU in float32, and not to be written to.

    Raises:
        NstError: they cannot be had, or the cache cannot be written.
    """
    found = _imagenet(HEADS)
    if not isinstance(found, Weights):
        raise NstError(
            f"LPIPS's heads for vgg16 cannot be had ({found}); copy another machine's "
            f"{HEADS}.safetensors to {cache_folder()}"
        )
    return tuple(found.tensors.values())


@functools.cache
def load_scorer(device: torch.device) -> Scorer:
    """What scores canvases on a device, once a process; raises NstError where its weights cannot be had."""
    heads = lpips_heads()  # first: VGG-16 comes with them, in a smaller file than elsewhere
    return Scorer(load_weights("vgg16", "imagenet").tensors, heads, device)


def _layout(name: str) -> Iterator[tuple[tuple[str, ...], list[int]]]:
    """Yield each tensor's names, ours and those that torchvision has or had for it, and its shape."""
    if name == HEADS:
        yield from (((f"lin{number}.weight",), [channels]) for number, channels in enumerate(CHANNELS))
        return
    if name not in BLOCKS:
        from nst.core import torchvision_network  # takes a second, and is mostly not needed

        yield from torchvision_network.layout(name)
        return
    index, inputs = 0, 3
    for block, (depth, outputs) in enumerate(zip(BLOCKS[name], CHANNELS, strict=True), 1):
        for position in range(1, depth + 1):
            for part, shape in (("weight", [outputs, inputs, 3, 3]), ("bias", [outputs])):
                theirs = f"{index}.{part}"
                yield (f"conv{block}_{position}.{part}", f"features.{theirs}", theirs), shape
            index += 2  # itself and its ReLU
            inputs = outputs
        index += 1  # the pooling


def _weights(name: str, found: Mapping[str, object], source: str) -> Weights:
    """Check `found`, under our names or torchvision's, tensor by tensor."""
    left = dict(found)
    tensors = {}
    for names, shape in _layout(name):
        key = next((key for key in names if key in left), None)
        if key is None:
            raise UnusableError(f"its {' or '.join(dict.fromkeys(names[:2]))}, {shape}, is missing")
        tensor = left.pop(key)
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise UnusableError(f"its {key} is not a dense tensor")
        if tensor.is_meta:
            raise UnusableError(f"its {key} has a shape and no values")
        if list(tensor.shape) != shape or not tensor.is_floating_point():
            had = f"{list(tensor.shape)} of {tensor.dtype}"
            raise UnusableError(f"its {key} is {had}, {name} wants {shape} of floats")
        # A copy: what was read may be a view of a file that somebody changes.
        tensor = tensor.detach().to(torch.float32, copy=True).contiguous()
        if not tensor.isfinite().all():
            raise UnusableError(f"its {key} holds NaN or infinity")
        tensors[names[0]] = tensor
    # VGG-19 under our names has all that VGG-16 has, and more.
    foreign = r"conv\d|features\.|\d+\." if name in BLOCKS else r"(?!.*num_batches_tracked)"
    if extra := [key for key in left if re.match(foreign, str(key))]:
        raise UnusableError(f"its {escape_unprintable(str(extra[0]))} is no part of {name}")
    return Weights(tensors, name, _sha256(tensors), source)


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(f"{key} {list(tensors[key].shape)}\n".encode())
        digest.update(tensors[key].numpy().astype("<f4").tobytes())
    return digest.hexdigest()


@functools.cache
def _random(name: str) -> Weights:
    if name not in BLOCKS:
        from nst.core import torchvision_network

        return _weights(name, torchvision_network.random_tensors(name), "random")
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}
    for names, shape in _layout(name):
        tensors[names[0]] = torch.zeros(shape)
        if names[0].endswith(".weight"):
            torch.nn.init.kaiming_normal_(tensors[names[0]], nonlinearity="relu", generator=generator)
    return _weights(name, tensors, "random")


@functools.cache
def _from_path(name: str, path: Path, modified: float) -> Weights:
    """Read the user's file. `modified` is its time: a file that changed is another file."""
    try:
        return _weights(name, _state_dict(path), str(path))
    except UnusableError as error:
        raise NstError(
            f"model.weights={escape_unprintable(str(path))}: {error}; give imagenet, random, or the path "
            f"of {name}'s state dict (.safetensors, .pth, .pt)"
        ) from error


def _state_dict(path: Path) -> dict[str, object]:
    """Read every tensor of a file, under its name there. Nothing in the file is executed."""
    if not os.path.exists(path):  # False, too, where we may not look
        raise UnusableError("no such file")
    if path.is_dir():
        raise UnusableError("it is a folder")
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise UnusableError(f"it ends in {path.suffix!r}")
    if path.stat().st_size == 0:
        raise UnusableError("it is empty")
    try:
        if path.suffix == ".safetensors":
            return {**load_file(path)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it then refuses
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UnusableError(f"it cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged pickle raises whatever its bytes lead to
        raise UnusableError("it is damaged, or holds something other than tensors") from error
    if not isinstance(found, dict):
        raise UnusableError(f"it holds a {type(found).__name__}, not a state dict")
    return found


@functools.cache
def _imagenet(name: str) -> Weights | str:
    """Weights, or why they cannot be had; a refusal is remembered too, so 61 cells ask once."""
    cache = cache_folder()
    if (cached := _cached(name)) is not None:
        return cached
    sources = {"torchvision": _from_torchvision, "package index": _from_index}
    # The heads come with VGG-16: whoever wants the one waits for the process that fetches the other.
    stem = name.removesuffix("-lpips")
    # The one name under which half a file ever lies. It is only written to under the lock, and only
    # read by the process that has just checked what it wrote.
    part = cache / f".{stem}.part.pth"
    refusals = []
    try:
        cache.mkdir(parents=True, exist_ok=True)
        log.info("%s is not in %s: fetching it, or waiting for the process that is", name, cache)
        with FileLock(cache / f"{stem}.lock", timeout=LOCK_SECONDS):
            if (cached := _cached(name)) is not None:  # filled while we waited
                return cached
            for source, get in sources.items():
                try:
                    found = [_weights(*item, source) for item in get(name, part).items()]
                    if any(weights.sha256 != KNOWN.get(weights.name, weights.sha256) for weights in found):
                        raise UnusableError("its values are not the known ones")
                except UnusableError as error:
                    refusals.append(f"{source}: {error}")
                    continue
                finally:
                    part.unlink(missing_ok=True)
                for weights in found:
                    if weights.name == name or _cached(weights.name) is None:
                        _keep(weights)
                return next(weights for weights in found if weights.name == name)
    except Timeout as error:
        return f"another process has held {error.lock_file} for {LOCK_SECONDS:.0f} s"
    except OSError as error:
        raise NstError(
            f"NST_CACHE={cache}: cannot keep {name} there ({error}); "
            "set NST_CACHE to a folder that can be written and has 1 GB free"
        ) from error
    return "; ".join(refusals)


def _keep(weights: Weights) -> None:
    metadata = {"sha256": weights.sha256, "source": weights.source}
    with atomic_write(cache_folder() / f"{weights.name}.safetensors") as temporary:
        save_file(weights.tensors, temporary, metadata)


def _cached(name: str) -> Weights | None:
    path = cache_folder() / f"{name}.safetensors"
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            recorded = file.metadata() or {}
        weights = _weights(name, _state_dict(path), recorded.get("source", str(path)))
        if weights.sha256 != KNOWN.get(name, recorded.get("sha256")):
            raise UnusableError("its values are not the ones it was written with")
    except (SafetensorError, UnusableError, OSError) as error:
        log.warning("%s: %s; fetching it again", path, error)
        return None
    return weights


def _published(name: str) -> str:
    """Return torchvision's address of a network, whose file name ends in the start of its hash."""
    if name in ADDRESSES:
        return ADDRESSES[name]
    from torchvision.models import get_model_weights

    published = get_model_weights(name)
    # Its first weights, where there are several: those that papers about style transfer had.
    return str(getattr(published, "IMAGENET1K_V1", next(iter(published))).url)


def _from_torchvision(name: str, part: Path) -> Found:
    if name == HEADS:
        raise UnusableError("it has no heads")
    url = _published(name)
    hashed = url.rpartition("-")[2].removesuffix(".pth")
    hub = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if hub.is_file():
        with hub.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest().startswith(hashed):
                return {name: _state_dict(hub)}
        log.warning("%s has not the hash in its name; fetching it again", hub)
    download(url, hashed, part)
    return {name: _state_dict(part)}


def _from_index(name: str, part: Path) -> Found:
    """Both, whichever was asked for: they are in one file, and worth one download."""
    if name not in ("vgg16", HEADS):
        raise UnusableError("it has vgg16 only")
    return dict(zip(("vgg16", HEADS), package_index.fetch(part), strict=True))
