"""The convolution with kept weights against PyTorch's own, to the last bit where that computes by oneDNN."""

import pytest
import torch
import torch.nn.functional as F

from nst.core import convolution
from nst.core.convolution import Convolution

# Channels in and out, height, width, padding.
SHAPES = [(3, 64, 40, 24, 1), (3, 64, 34, 26, 0), (64, 128, 12, 20, 1), (256, 512, 8, 6, 1)]
SHAPES += [(512, 512, 1, 2, 1)]


def drawn(inputs: int, outputs: int, *shape: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Weight, bias and four rows of input."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, 3, 3, generator=generator) / (3 * inputs**0.5)
    bias, x = (torch.randn(*each, generator=generator) for each in [(outputs,), (4, inputs, *shape)])
    return [bias.to(dtype), *(t.to(dtype, memory_format=torch.channels_last) for t in (weight, x))]


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_it_is_pytorchs_convolution_whatever_it_was_given_before(case, dtype):
    *shape, padding = case
    bias, weight, x = drawn(*shape, dtype=dtype)
    mine = Convolution(weight, bias, padding)
    # Of one small row PyTorch does not ask oneDNN, so its own is that of a batch.
    whole = x.clone().requires_grad_()
    expected = F.conv2d(whole, weight, bias, padding=padding)
    gradient = torch.linspace(-1, 1, expected.numel()).to(dtype).view_as(expected)
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    expected.backward(gradient)
    assert whole.grad is not None
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 0, "atol": 0}
    for rows in (slice(0, 4), slice(1, 2), slice(1, 3), slice(0, 4)):
        found = mine.forward(x[rows])
        torch.testing.assert_close(found, expected[rows].detach(), **tolerance)
        back = mine.backward(gradient[rows], x[rows])
        torch.testing.assert_close(back, whole.grad[rows], **tolerance)
        for each in (found, back):
            assert each.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_onednn_rows_are_computed_one_by_one(dtype, monkeypatch):
    bias, weight, x = drawn(64, 64, 9, 9, dtype=dtype)
    mine, seen = Convolution(weight, bias), list[int]()
    plain = F.conv2d
    expected, back = mine.forward(x), mine.backward(x, x)
    monkeypatch.setattr(convolution, "_onednn_has", lambda dtype: False)
    monkeypatch.setattr(F, "conv2d", lambda x, *more, **kw: seen.append(len(x)) or plain(x, *more, **kw))
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.02}
    torch.testing.assert_close(mine.forward(x), expected, **tolerance)
    torch.testing.assert_close(mine.backward(x, x), back, **tolerance)
    assert seen == [1, 1, 1, 1]


def test_weights_are_laid_out_once_a_shape():
    bias, weight, x = drawn(64, 64, 8, 8, dtype=torch.float32)
    mine = Convolution(weight, bias)
    mine.forward(x)
    first = mine._kept[False][1]
    mine.forward(x + 1)
    assert mine._kept[False][1] is first
    mine.forward(x[:1])
    assert mine._kept[False][1] is not first
