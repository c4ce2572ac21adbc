"""The key `device` of a table [models.NAME] against the rest of it.

    device = "cpu"       its processors; what holds where nothing is said
    device = "cuda"      the GPU of this machine that has most room when the model is loaded
    device = "cuda:1"    a certain one, by the number that nvidia-smi gives it (under CUDA_VISIBLE_DEVICES: by its
                         place there)

Where there is no such GPU, or a library can't use it, the model can't be loaded, and says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .kinds import DETAILS
from .machine.governor import CPU
from .mistakes import Mistake

_INSTEAD: Final = ("providers", "provider_options")


def check_device(
    where: str, kind: str, device: str | None, options: Mapping[str, Any], mistakes: list[Mistake]
) -> None:
    """Whether a kind can run there, and nothing else says where it runs."""
    if device in (None, CPU):
        if "device_memory" in options:
            text = 'it limits what is taken of a GPU: say on which by `device = "cuda"`'
            mistakes.append(Mistake(f"{where}.device_memory", text))
        return
    if not DETAILS[kind].device:
        able = ", ".join(name for name, details in DETAILS.items() if details.device)
        mistakes.append(Mistake(f"{where}.device", f'kind "{kind}" runs on "cpu" only; on GPUs run: {able}'))
    mistakes += [
        Mistake(f"{where}.{key}", f'`device = "{device}"` says where it runs already: leave one of them out')
        for key in _INSTEAD
        if key in options
    ]


def check_kwargs(where: str, device: str | None, kwargs: Mapping[str, Any], mistakes: list[Mistake]) -> None:
    """A factory is given its device once."""
    if device is not None and "device" in kwargs:
        mistakes.append(Mistake(f"{where}.kwargs", "`device` is given by the key of its own already"))
