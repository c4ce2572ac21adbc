"""Which model the arguments of `from_pretrained` and `pipeline` mean."""

from __future__ import annotations

import os
from typing import Any, Final

from sharedmodel.client.backing import Wanted, file_path, on_hub
from sharedmodel.client.refusing import refuse

# Arguments that change nothing here, and which values they may have; None is one for each.
_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "token": (), "use_auth_token": (), "trust_remote_code": (False,), "force_download": (False,), "proxies": (),
    "resume_download": (False,), "use_fast": (True, False), "config": (), "model_kwargs": ({},), "device_map": ("cpu",),
    "low_cpu_mem_usage": (True, False), "attn_implementation": ("sdpa", "eager"), "use_safetensors": (True, False),
    "subfolder": ("",), "code_revision": (), "framework": ("pt",), "feature_extractor": (), "image_processor": (),
    "video_processor": (), "processor": (), "pipeline_class": (), "num_workers": (0, 1),
    "ignore_mismatched_sizes": (False,),
}  # fmt: skip
_DTYPES: Final = ("auto", "float32", "torch.float32", "float", "fp32")


def wanted(
    kind: str,
    given: Any,
    *,
    revision: str | None = None,
    cache_dir: Any = None,
    local_files_only: bool = False,
    **options: Any,
) -> Wanted:
    """A folder here, else a name on the hub. Raises OSError for a path where nothing is."""
    if isinstance(given, os.PathLike):
        given = os.fspath(given)
    if not isinstance(given, str) or not given:
        refuse(f"a model given as {given!r}", "name one, by a folder or by its name on the hub")
    if os.path.isdir(given):
        return Wanted.of(kind, options, {"path": file_path(given)})
    if os.path.isabs(given) or given.count("/") > 1:
        raise OSError(f"Can't load the model: {given} is no folder, and no name on the hub")
    named = on_hub(given, None if revision == "main" else revision, cache_dir, local_files_only)
    return Wanted.of(kind, {**options, **named}, {})


def check_rest(what: str, rest: dict[str, Any]) -> None:
    """Raises NotImplementedError for arguments that would make another model than the host has."""
    for name, value in rest.items():
        if name in ("dtype", "torch_dtype"):
            if value is not None and str(value) not in _DTYPES:
                refuse(f"{what}({name}={value})", "in which precision it runs is the host's choice")
        elif name == "device":
            check_device(what, value)
        elif value is not None and (name not in _NEUTRAL or value not in _NEUTRAL[name]):
            refuse(f"{what}({name}=...)", "the model is the host's; say it in its configuration")


def twin_of(type_name: str, text: str) -> Exception | None:
    """transformers' own exceptions as light twins: none comes of what is carried; all are Python's own, or ours."""
    return None


def check_device(what: str, device: Any) -> None:
    """None, -1 or "cpu". Raises NotImplementedError for others."""
    if device is not None and device != -1 and str(device).partition(":")[0] != "cpu":
        refuse(f"{what}(device={str(device)!r})", "where the model runs is the host's choice")
