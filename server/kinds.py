"""What the host knows of each kind of model besides its class: what of it is served, and how.

exposed      the methods that clients may call
idempotent   those that may simply be run again after a crash
default      the one that `sharedmodel call MODEL` means
files        arguments that are files: position and name; clients read them with their own rights
files_where  options with which that is so; without: always
paths        options that are files of the host's
threads      whether its constructor takes `threads`, processors that one call may use
runs         methods that run the model, and wait for their turn; the others tell something at once
isolate      whether it keeps the interpreter busy, or may crash: it has a host of its own by default
made         those of them that need not exist: the library makes them
own          options that are the server's own affair: they change how fast an answer comes, never the answer
device       whether its constructor takes `device` and `device_memory`: it can run on a GPU
schedule     how its calls wait and run together where its table does not say (see `scheduling.settings`)
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .models import KINDS


class Kind(NamedTuple):
    """See the module's head."""

    exposed: tuple[str, ...]
    default: str
    files: Mapping[str, tuple[int | str, ...]] = MappingProxyType({})
    files_where: Mapping[str, Any] = MappingProxyType({})
    paths: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    isolate: bool = False
    threads: bool = False
    made: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    device: bool = False
    schedule: Mapping[str, Any] = MappingProxyType({})

    @property
    def idempotent(self) -> tuple[str, ...]:
        """Inference leaves nothing behind: all of it."""
        return self.exposed

    def files_of(self, options: Mapping[str, Any]) -> dict[str, list[int | str]]:
        """The arguments of each method that are files, of a model with these options."""
        if any(options.get(name) != value for name, value in self.files_where.items()):
            return {}
        return {method: [*places] for method, places in self.files.items()}


# Two runs at once: while one is inside onnxruntime, the Python of another goes on. More would take turns at the
# interpreter, and each take the memory of a run.
_PYTHON: Mapping[str, Any] = MappingProxyType({"lanes": 2})

_DEVICE = ("device", "device_memory")

DETAILS: Mapping[str, Kind] = MappingProxyType(
    {
        "onnx": Kind(
            exposed=(
                "run",
                "run_packed",
                "run_bound",
                "terminate",
                "card",
                "get_inputs",
                "get_outputs",
                "get_overridable_initializers",
                "get_modelmeta",
                "get_providers",
                "get_provider_options",
            ),
            default="run",
            paths=("path",),
            threads=True,
            runs=("run", "run_packed", "run_bound"),
            own=("threads", "narrow", "inter_threads", "spinning", "in_memory", "mapped", *_DEVICE),
            device=True,
        ),
        "cnocr": Kind(
            exposed=("ocr", "ocr_for_single_line", "ocr_for_single_lines", "card"),
            default="ocr",
            files={
                "ocr": (0, "img"),
                "ocr_for_single_line": (0, "img"),
                "ocr_for_single_lines": (0, "img_list"),
            },
            paths=("rec_model_fp", "det_model_fp", "rec_vocab_fp", "rec_root", "det_root"),
            runs=("ocr", "ocr_for_single_line", "ocr_for_single_lines"),
            isolate=True,
            threads=True,
            made=("rec_root", "det_root"),
            own=("threads", "warm_up"),
            schedule=_PYTHON,
        ),
        "cnstd": Kind(
            exposed=("detect", "card"),
            default="detect",
            files={"detect": (0, "img_list")},
            paths=("model_fp", "angle_clf_fp", "root"),
            runs=("detect",),
            isolate=True,
            threads=True,
            made=("root",),
            own=("threads", "warm_up"),
            schedule=_PYTHON,
        ),
        "rapidocr": Kind(
            exposed=("ocr", "card"),
            default="ocr",
            files={"ocr": (0, "img")},
            paths=("det_model_path", "rec_model_path", "cls_model_path", "rec_keys_path", "model_root_dir"),
            runs=("ocr",),
            isolate=True,
            threads=True,
            made=("model_root_dir",),
            own=("threads", "warm_up", "model_root_dir"),
            schedule=_PYTHON,
        ),
        "embedder": Kind(
            exposed=("embed", "token_embeddings", "tokenize", "count", "card"),
            default="embed",
            paths=("path", "cache_folder"),
            threads=True,
            runs=("embed", "token_embeddings"),
            made=("cache_folder",),
            own=("threads", "engine", "tokens_per_run", "cache_folder", "local_files_only", *_DEVICE),
            device=True,
            # Two runs at once: a short text does not wait for the end of somebody's long ones.
            schedule=MappingProxyType({"max_batch": 64, "token_budget": 8192, "buckets": (32, 128), "lanes": 2}),
        ),
        "bgem3": Kind(
            exposed=("encode", "score", "decode", "card"),
            default="encode",
            paths=("path", "cache_folder"),
            threads=True,
            runs=("encode", "score"),
            made=("cache_folder",),
            own=("threads", "engine", "tokens_per_run", "max_length", "cache_folder", *_DEVICE),
            device=True,
            schedule=MappingProxyType({"max_batch": 64, "token_budget": 8192, "buckets": (32, 128, 512), "lanes": 2}),
        ),
        "sapiens": Kind(
            exposed=("heatmaps", "card"),
            default="heatmaps",
            paths=("path",),
            threads=True,
            runs=("heatmaps",),
            own=("threads", *_DEVICE),
            device=True,
        ),
        "translator": Kind(
            exposed=("translate", "generate", "tokenize", "detokenize", "card"),
            default="translate",
            paths=("path", "cache_folder"),
            threads=True,
            runs=("translate", "generate"),
            made=("cache_folder",),
            own=("threads", "engine", "int8", "tokens_per_run", "cache_folder", "local_files_only", *_DEVICE),
            device=True,
            schedule=MappingProxyType({"max_batch": 32, "token_budget": 4096, "buckets": (32, 128), "lanes": 2}),
        ),
        "pipeline": Kind(
            exposed=("call", "card"),
            default="call",
            files={"call": (0, "inputs")},
            files_where={"task": "image-classification"},
            paths=("path", "cache_folder"),
            threads=True,
            runs=("call",),
            isolate=True,
            made=("cache_folder",),
            own=("threads", "cache_folder", "local_files_only", *_DEVICE),
            device=True,
            schedule=MappingProxyType({"lanes": 1}),
        ),
    }
)


_OF_RUN = frozenset({"output_names", "input_feed", "run_options"})


def fed(kind: str | None, method: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """For an ONNX model KEY=VALUE are its inputs, unless `run`'s own arguments are given."""
    if kind == "onnx" and method == "run" and not args and kwargs and not _OF_RUN & kwargs.keys():
        return [None, kwargs], {}
    return args, kwargs


def adapter(kind: str) -> Any:
    """The adapter's class. Imports its module, not yet its libraries."""
    return resolve(KINDS[kind])


def resolve(reference: str) -> Any:
    """What "package.module:name.of.it" stands for. Raises ImportError or AttributeError."""
    module, _, names = reference.partition(":")
    found: Any = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    return found
