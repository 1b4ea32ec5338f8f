"""What says that memory is short, on any device."""

import torch

# Of memory on the host PyTorch has no exception. The second is what oneDNN says.
SAID = ("DefaultCPUAllocator", "could not create a primitive")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that less would have fitted."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAID)
