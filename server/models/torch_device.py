"""Where PyTorch runs a model. Not verified on a GPU."""

from __future__ import annotations

from typing import Any

from sharedmodel.errors import BadArgument
from sharedmodel.server.machine.governor import CPU
from sharedmodel.server.machine.seat import number_of
from sharedmodel.server.machine.torch_cache import empty_cache


class TorchDevice:
    """A device; ``name`` as PyTorch has it too."""

    def __init__(self, name: str, memory: int | None = None) -> None:
        """``memory``: most bytes that PyTorch may take of it, for all models of this process.

        Raises BadArgument where this PyTorch can't use it. Imports PyTorch.
        """
        import torch

        self.name = name
        if name == CPU:
            return
        if not torch.cuda.is_available() or number_of(name) >= torch.cuda.device_count():
            raise BadArgument(
                f"PyTorch {torch.__version__} here can't run on {name}: it sees {torch.cuda.device_count()} GPUs;"
                " it takes a build for CUDA, and a driver that is new enough for it"
            )
        if memory is not None:
            total = torch.cuda.get_device_properties(name).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, memory / total), name)

    def put(self, what: Any) -> Any:
        """A tensor or a module, there; it itself where it is there already."""
        return what if self.name == CPU else what.to(self.name)

    def shrink(self) -> None:
        """PyTorch gives memory of processors back by itself; of a GPU it keeps what it has once had."""
        if self.name != CPU:
            empty_cache()
