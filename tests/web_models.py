"""The models of the FastAPI example, served for a whole module of tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sharedmodel.runtime import VARIABLE

from .conftest import leaving_nothing
from .embedding_models import minilm, offline_with_cache
from .servers import Server, running_server, until
from .web import PATIENCE

MODELS = f"""
[models.ocr]
kind = "cnocr"
lanes = 1
queue = 3
det_more_configs = {{limit_side_len = 64}}  # pages are not enlarged: that takes seconds a page

[models.minilm]
kind = "embedder"
path = "{minilm()}"
"""


@contextmanager
def model_server() -> Iterator[Server]:
    """The models of the examples, served for a whole module of tests, which must leave nothing behind.

    Its directory is the runtime directory meanwhile.
    """
    directory = tempfile.mkdtemp(prefix="sm-", dir="/tmp")
    try:
        with pytest.MonkeyPatch.context() as patch, offline_with_cache():
            patch.setenv(VARIABLE, directory)
            with leaving_nothing(), running_server(MODELS, directory, ready=False) as server:
                until(lambda: server.state() == "ready", lambda: server.log, PATIENCE)
                yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)
