"""Poolings by Triton, as its interpreter runs them on the CPU, are PyTorch's to the last bit."""

import importlib
import sys

import pytest
import torch
import torch.nn.functional as F

from nst.core import pooling
from nst.core.pooling import WINDOW, MaxPooling


@pytest.fixture
def kernels(monkeypatch):
    pytest.importorskip("triton", reason="comes with PyTorch where there is CUDA")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    name = "nst.core.triton_pooling"
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module(name)
    sys.modules.pop(name, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 5, 6, 8), (1, 64, 7, 9), (3, 3, 2, 2)])
def test_triton_finds_the_same_maxima_and_ways_back(kernels, shape, dtype):
    x = torch.randn(shape, dtype=dtype).relu_().to(memory_format=torch.channels_last)  # with many ties at 0
    x[0, 0, 1, 1] = torch.nan
    x[-1, -1, :2, :2] = 3.0
    expected, places = F.max_pool2d(x, 2, 2, return_indices=True)
    gradient = torch.randn_like(expected)
    back = torch.ops.aten.max_pool2d_with_indices_backward(gradient, x, *WINDOW, [1, 1], False, places)
    pooled, mine = kernels.forward(x)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=0, equal_nan=True)
    assert mine.dtype == torch.int8
    assert torch.equal(kernels.backward(gradient.contiguous(), x, mine), back)


def test_without_triton_poolings_are_pytorchs_and_it_is_said_once(monkeypatch, caplog):
    pooling._triton.cache_clear()
    monkeypatch.setitem(sys.modules, "nst.core.triton_pooling", None)
    for _ in range(2):
        assert pooling._triton() is None
    assert len(caplog.messages) == 1
    assert "Triton makes no kernels here" in caplog.text
    pooling._triton.cache_clear()
    assert MaxPooling.forward(torch.zeros(1, 1, 2, 2))[1].dtype == torch.int64
