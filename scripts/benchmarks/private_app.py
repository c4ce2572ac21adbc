"""The FastAPI example as it would be without a server: every worker loads the models for itself, one thread each."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

_PATH = Path(__file__).parents[2] / "examples" / "fastapi_app" / "app.py"


class Private:
    """A model in this process, called as the served one is."""

    def __init__(self, **methods: Callable[..., Any]) -> None:
        self._methods = methods

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = self._methods[name]

        async def call(*args: Any) -> Any:
            return await asyncio.to_thread(method, *args)

        return call


def _ocr() -> Private:
    from sharedmodel.server.models.cnocr import CnOcrModel

    return Private(ocr=CnOcrModel(threads=1).ocr)


def _embedder() -> Private:
    import torch
    from sentence_transformers import SentenceTransformer

    from tests.embedding_models import minilm

    torch.set_num_threads(1)
    model = SentenceTransformer(minilm(), device="cpu")
    return Private(embed=model.encode)


def _made() -> Any:
    """The example's application, its dependencies and its lifespan replaced."""
    spec = importlib.util.spec_from_file_location("example_app", _PATH)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = example  # its annotations are looked up there
    spec.loader.exec_module(example)
    here: dict[str, Private] = {}

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        here.update(ocr=_ocr(), minilm=_embedder())
        yield

    async def health() -> dict[str, Any]:
        return {"worker": os.getpid(), "models": {name: {"state": "ready"} for name in here}}

    app = example.app
    app.router.lifespan_context = lifespan
    app.dependency_overrides = {
        get_args(example.Ocr)[1].dependency: lambda: here["ocr"],
        get_args(example.Embedder)[1].dependency: lambda: here["minilm"],
    }
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", "") != "/health"]
    app.get("/health")(health)
    return app


app = _made()
