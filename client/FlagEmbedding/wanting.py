"""Which model the arguments of a BGEM3FlagModel mean."""

from __future__ import annotations

import os
from typing import Any, Final

from sharedmodel.client.backing import Wanted, file_path, on_hub
from sharedmodel.client.refusing import refuse

_POOLINGS: Final = ("cls", "mean", "last_token")
_DEVICES: Final = "devices should be a string or an integer or a list of strings or a list of integers."


def wanted(given: Any, *, half: bool, brain: bool, pooling: str, cache: str | None) -> Wanted:
    """A folder here, else a name on the hub. ``half``, ``brain``: rounded to float16, or to bfloat16.

    Raises NotImplementedError for a pooling that there is not, TypeError for what is no name.
    """
    if pooling not in _POOLINGS:
        raise NotImplementedError(f"pooling method {pooling} not implemented")
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"model_name_or_path is a folder or a name on the hub, not {type(given).__name__}")
    options: dict[str, Any] = {"weights": "bfloat16" if brain else "float16" if half else "float32"}
    if pooling != "cls":
        options["pooling"] = pooling
    if os.path.exists(given):
        return Wanted.of("bgem3", options, {"path": file_path(given)})
    return Wanted.of("bgem3", {**options, **on_hub(os.fspath(given), None, cache)}, {})


def devices(given: Any) -> list[str]:
    """Those that are asked for. Raises ValueError for what is none, NotImplementedError for others than "cpu"."""
    if given is None:
        return ["cpu"]
    found = given if isinstance(given, list) else [given]
    if not isinstance(found[0], str | int):
        raise ValueError(_DEVICES)
    for each in found:
        if str(each).partition(":")[0] != "cpu":
            refuse(
                f"BGEM3FlagModel(devices={given!r})",
                "where the model runs is the host's choice: `providers` in its configuration",
            )
    return [*found]
