"""What user code imports: connect to the host, and call its models as if they were local.

    from sharedmodel.client import connect

    host = connect()
    lines = host.model("ocr").ocr("page.png")

Or the libraries that you know, behind one changed import: `sharedmodel.client.onnxruntime`, `cnocr`, `cnstd`,
`sentence_transformers`, `fastembed`, `FlagEmbedding` and `transformers` there, and `sapiens` for poses; for imports
inside other libraries, call `install()` before they happen.

Importing it loads numpy, msgpack and posix_ipc, and nothing heavy.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if __name__ != "sharedmodel.client":
    raise ImportError("this is the folder of the package sharedmodel.client: import sharedmodel.client")

from .redirect import install, uninstall

if sys.platform == "linux":
    from sharedmodel.handle import Handle

    from .host import Host, connect
    from .model import Model

if TYPE_CHECKING:
    from .aio import AsyncHost, aconnect
    from .aio_model import AsyncModel
    from .executor.executor import TaskExecutor

__all__ = [
    "AsyncHost",
    "AsyncModel",
    "Handle",
    "Host",
    "Model",
    "TaskExecutor",
    "aconnect",
    "connect",
    "install",
    "uninstall",
]


def __getattr__(name: str) -> Any:
    # asyncio alone weighs 7 MB: only who asks for it pays for it.
    if name in ("AsyncHost", "AsyncModel", "aconnect"):
        from . import aio

        return getattr(aio, name)
    if name == "TaskExecutor":
        from .executor.executor import TaskExecutor

        return TaskExecutor
    if name in ("Handle", "Host", "Model", "connect"):
        raise ImportError(f"{name}: a host needs Linux, and this is {sys.platform}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
