"""What PyTorch holds of GPUs and does not use, where PyTorch is loaded at all. Not verified on a GPU."""

from __future__ import annotations

import sys


def empty_cache() -> bool:
    """Have PyTorch give it back; whether it has any GPU. Nothing is asked of a PyTorch that has not used one yet."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return False
    cuda.empty_cache()
    return True
