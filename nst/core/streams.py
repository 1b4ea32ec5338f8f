"""Streams of a CUDA device: one for work that nothing waits for yet, one that graphs are captured on."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch


class SideStream:
    """A second stream on CUDA, where one canvas leaves most of the device idle; elsewhere all is in turn.

    What is done in `forked` begins when all before it is done, and ends before what comes after `join`.
    Until then only what is done in `forked` may use what it makes, and nobody may write to what it reads.
    A captured graph has the same order.
    """

    def __init__(self, device: torch.device) -> None:
        # Fake tensors may be on a device that is not here.
        here = device.type == "cuda" and torch.cuda.is_available()
        self._stream = torch.cuda.Stream(device) if here else None

    @contextmanager
    def forked(self) -> Iterator[None]:
        """Do what is inside on this stream."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            yield

    def join(self) -> None:
        """Let what comes next wait for all that was forked."""
        if self._stream is not None:
            torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)


def current_device(device: torch.device) -> AbstractContextManager[object]:
    """Make a CUDA device, inside, the one of graphs, events and Triton's kernels; nothing elsewhere."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@cache
def side_stream(device: torch.device) -> SideStream:
    """That of a device: all who work there share one."""
    return SideStream(device)


@cache
def capture_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream to warm up and to capture on.

    It is always the same, because cuBLAS keeps memory of its own for each stream that it has seen, 32 MiB on
    an H100.
    """
    return torch.cuda.Stream(device)
