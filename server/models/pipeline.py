"""Pipelines of transformers other than translation, run by PyTorch: one adapter for all of its tasks that are carried.

Tokenising, decoding of pictures and what is made of the model's numbers are transformers' own Python, and keep the
interpreter busy between the runs of the model: so it has a host of its own by default. Its tokenizers can't serve
two threads at once: calls take turns.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np

from sharedmodel.errors import BadArgument

from . import hub
from .answering import Answering
from .torch_device import TorchDevice
from .versions import versions

Task = Literal[
    "text-classification", "token-classification", "question-answering", "image-classification", "feature-extraction"
]

_PICTURES: Final = "image-classification"
_PROBES: Final[Mapping[str, Any]] = {
    "text-classification": "a",
    "token-classification": "a",
    "feature-extraction": "a",
    "question-answering": {"question": "a", "context": "a"},
    _PICTURES: np.zeros((32, 32, 3), np.uint8),
}


class PipelineModel:
    """One loaded pipeline: a task, a model, and the tokenizer or image processor that goes with it.

    task        what it does
    path        a folder of transformers
    name        its name on the hub, as its users call it; it is looked for in the hub's cache, and downloaded
                where the host may, unless ``path`` says where it lies
    revision    of ``name``: a branch, a tag or a commit
    cache_folder  where downloads are kept, if not in the hub's own place
    local_files_only   download nothing
    threads     processors that one run may use; None takes every one that this process may
    device      "cpu", or a GPU that PyTorch can use, such as "cuda:0": the server says which, by the model's key
                `device`
    device_memory   most bytes of it that PyTorch may take; without: what the server may use of it
    """

    compared = staticmethod(hub.compared)
    on_hub = staticmethod(hub.wanted)

    def __init__(
        self,
        task: Task,
        path: str | None = None,
        *,
        name: str | None = None,
        revision: str | None = None,
        cache_folder: str | None = None,
        local_files_only: bool = False,
        threads: int | None = None,
        device: str = "cpu",
        device_memory: int | None = None,
    ) -> None:
        folder = hub.folder_of(path, name, revision, cache_folder, local_files_only)
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"no such folder: {folder}")
        self._task: str = task
        self._turn = threading.Lock()  # however its scheduling is set
        self._device = TorchDevice(device, device_memory)
        self._pipeline: Any = _loaded(task, folder, threads, self._device)

    def call(self, inputs: Any, options: Mapping[str, Any] | None = None) -> Any:
        """What the pipeline gives for one input, or for a list of them.

        Pictures are arrays (height, width, 3) of uint8, the bytes of a file, or {"rgb": such an array} for one
        that was a picture of PIL's; a path or a URL is refused: the host opens nothing for its callers. Features are
        arrays (1, tokens, size). ``options`` are the pipeline's own, but for processes to be started
        (``num_workers``). Raises BadArgument for what is refused.
        """
        pipeline = self._pipeline
        if pipeline is None:
            raise RuntimeError("this model is closed")
        options = _checked(self._task, options or {})
        if self._task == _PICTURES:
            inputs = [_picture(each) for each in inputs] if isinstance(inputs, list) else _picture(inputs)
        if self._task == "feature-extraction":
            options["return_tensors"] = True
        with self._turn:
            found = pipeline(inputs, **options)
        return _arrays(found) if self._task == "feature-extraction" else found

    def card(self) -> dict[str, Any]:
        """The task, and the labels of a model that has any."""
        return {"task": self._task, "labels": dict(getattr(self._pipeline.model.config, "id2label", None) or {})}

    @staticmethod
    def about() -> dict[str, Any]:
        """Versions of the libraries that are installed in this host."""
        return {"versions": versions("torch", "transformers")}

    def canary(self) -> dict[str, Any]:
        """A first call to make."""
        return {"method": "call", "args": (_PROBES[self._task],)}

    def shrink(self) -> None:
        """Give back memory of a GPU that PyTorch holds and does not use."""
        self._device.shrink()

    def close(self) -> None:
        """Lets the model go."""
        self._pipeline = None


def _loaded(task: str, folder: str, threads: int | None, device: TorchDevice) -> Any:
    import transformers

    from ..machine.torch_threads import limit_torch

    if threads is not None:
        limit_torch(threads)  # of the whole host: PyTorch knows no other
    if task == "question-answering":
        return Answering(folder, device)
    return transformers.pipeline(task, model=folder, device=device.name)


def _checked(task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    if options.get("num_workers"):
        raise BadArgument("num_workers is not a caller's to choose: it would start processes in the host")
    if task == _PICTURES and "images" in options:
        raise BadArgument("images is the first argument, and no option")
    return dict(options)


def _picture(given: Any) -> Any:
    from PIL import Image

    if isinstance(given, str):
        raise BadArgument(
            "a picture is the bytes of a file, an array (height, width, 3) of uint8, or {'rgb': such an array}; the"
            " host opens no path and no URL for its callers"
        )
    if isinstance(given, bytes | bytearray | memoryview):
        return Image.open(io.BytesIO(given))
    if isinstance(given, dict) and given.keys() == {"rgb"}:
        return Image.fromarray(np.asarray(given["rgb"]))
    return given


def _arrays(found: Any) -> Any:
    return [_arrays(each) for each in found] if isinstance(found, list) else found.cpu().numpy()
