"""PyTorch's thread pools, where PyTorch is loaded at all."""

from __future__ import annotations

import sys


def limit_torch(threads: int) -> bool:
    """Have PyTorch use so many threads in an operation, and one between operations; whether all of it took.

    False where this process has not loaded PyTorch: call it after the import and before the first operation.
    False too where the pool between operations has started already, which PyTorch does not change any more.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() == 1:
        return True
    try:
        torch.set_num_interop_threads(1)
    except RuntimeError:
        return False
    return True
