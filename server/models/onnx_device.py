"""An onnxruntime session on a GPU: its providers, whether it really runs there, and the arenas that it has.

Not verified on a GPU. Inputs and outputs stay in the main memory: onnxruntime copies what is bound there to the GPU
before a run, and from it at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sharedmodel.errors import BadArgument
from sharedmodel.server.machine.governor import CPU
from sharedmodel.server.machine.seat import number_of

CUDA_PROVIDER: Final = "CUDAExecutionProvider"
CPU_PROVIDER: Final = "CPUExecutionProvider"


def providers_on(device: str, memory: int | None, otherwise: Sequence[Any]) -> list[Any]:
    """The execution providers for a device, ``otherwise`` those for "cpu". ``memory``: most bytes of an arena there.

    Raises BadArgument where this onnxruntime has none for GPUs. Imports it.
    """
    if device == CPU:
        return list(otherwise)
    import onnxruntime

    there = list(onnxruntime.get_available_providers())
    if CUDA_PROVIDER not in there:
        raise BadArgument(
            f"onnxruntime {onnxruntime.__version__} here can't run on {device}: it has {', '.join(there)}, and no"
            f" {CUDA_PROVIDER}; install onnxruntime-gpu in its place"
        )
    # An arena that doubles has half of the GPU for nothing; numbers of 19 bits for those of 32 are nobody's wish.
    options: dict[str, Any] = {
        "device_id": number_of(device),
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": 0,
    }
    if memory is not None:
        options["gpu_mem_limit"] = memory
    return [(CUDA_PROVIDER, options), CPU_PROVIDER]


def check_begun(session: Any, device: str) -> None:
    """Raises RuntimeError where onnxruntime would go on with processors, which it says in its log only."""
    if device != CPU and CUDA_PROVIDER not in session.get_providers():
        raise RuntimeError(
            f"onnxruntime could not begin on {device}, and would have gone on with processors: most often it does not"
            " find the CUDA and cuDNN of its release; its own words are in the log of `sharedmodel serve`"
        )


def arenas(session: Any, options: Any) -> str:
    """The arenas of a session made with these SessionOptions, as the entry to shrink them has it: "cpu:0;gpu:1"."""
    names = ["cpu:0"] if options.enable_cpu_mem_arena else []
    cuda = session.get_provider_options().get(CUDA_PROVIDER)
    if cuda is not None:
        names.append(f"gpu:{cuda.get('device_id', 0)}")
    return ";".join(names)
