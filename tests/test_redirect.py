"""`install()`: other libraries' imports give the stand-ins; and what importing a stand-in costs and needs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests import onnx_graphs as graphs
from tests.embedding_models import minilm, offline_with_cache
from tests.servers import command

pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parent.parent
HEAVY = {
    "onnxruntime", "cnocr", "cnstd", "torch", "cv2", "PIL", "rapidocr", "asyncio", "transformers", "tokenizers",
    "sentencepiece",
}  # fmt: skip


def child(code: str, *words: str) -> str:
    """What a Python process prints, one to which nothing is imported yet."""
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.strip()


@pytest.fixture
def stopped(runtime: str):
    yield
    command("stop")


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "add.onnx"
    path.write_bytes(graphs.add())
    return str(path)


@pytest.mark.parametrize("name", ["onnxruntime", "cnocr", "cnstd", "FlagEmbedding", "sapiens", "transformers"])
def test_importing_a_stand_in_loads_no_library(name: str) -> None:
    loaded = child(f"import sys, sharedmodel.client.{name}; print(*sys.modules)").split()
    assert HEAVY.isdisjoint(loaded)


_PROGRAM = """
import sys
from sharedmodel.client import install, uninstall
install()
import onnxruntime as ort
import onnxruntime.capi.onnxruntime_pybind11_state as errors
from onnxruntime.capi._pybind_state import Fail
from cnocr import CnOcr
import numpy as np, sharedmodel.client.onnxruntime as ours
assert ort is ours and ort.__name__ == ort.__spec__.name == "sharedmodel.client.onnxruntime"
assert Fail is errors.Fail and CnOcr.__module__.startswith("sharedmodel.client.")
session = ort.InferenceSession(sys.argv[1])
x = np.ones(2, "f4")
print(session.run(None, {"x": x, "y": x})[0].tolist())
try:
    session.run(None, {"x": np.ones(2), "y": x})
except errors.InvalidArgument as exc:
    print(type(exc) is errors.InvalidArgument)
try:
    import onnxruntime.quantization
except ModuleNotFoundError as exc:
    print(exc)
assert "torch" not in sys.modules
uninstall()
uninstall()
import onnxruntime
print(onnxruntime is ours, onnxruntime.InferenceSession.__module__)
try:
    install("onnxruntime")
except ImportError as exc:
    print(exc)
"""


def test_imports_are_redirected_and_the_library_comes_back(model: str, stopped: None) -> None:
    assert child(_PROGRAM, model).splitlines() == [
        "[2.0, 2.0]",
        "True",
        "onnxruntime.quantization is not part of the stand-in that sharedmodel.client.install() put in its place",
        "False onnxruntime.capi.onnxruntime_inference_collection",
        "onnxruntime is imported already: call install() before anything imports it",
    ]


def test_a_host_has_the_library_itself() -> None:
    code = (
        "from sharedmodel.client import install; install(); import sharedmodel.server.table, onnxruntime; "
        "print(onnxruntime.InferenceSession.__module__)"
    )
    assert child(code) == "onnxruntime.capi.onnxruntime_inference_collection"


def test_only_libraries_with_a_stand_in_are_redirected() -> None:
    code = (
        "from sharedmodel.client import install; install('cnocr'); import onnxruntime; "
        "print(onnxruntime.InferenceSession.__module__)\ntry: install('numpy')\nexcept ValueError as e: print(e)"
    )
    assert child(code).splitlines() == [
        "onnxruntime.capi.onnxruntime_inference_collection",
        "no stand-in for numpy; there are: FlagEmbedding, cnocr, cnstd, fastembed, onnxruntime, "
        "sentence_transformers, transformers",
    ]


_ELSEWHERE = """
import sys, warnings
sys.platform = "darwin"
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    import sharedmodel.client.onnxruntime as ort
    from sharedmodel.client.onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
    from sharedmodel.client import install
    install()
    import sharedmodel.client.onnxruntime
import numpy as np, onnxruntime
session = ort.InferenceSession(sys.argv[1])
assert type(session) is onnxruntime.InferenceSession
try:
    session.run(None, {"x": np.ones(2), "y": np.ones(2, "f4")})
except InvalidArgument:
    print([str(warning.message) for warning in warned])
try:
    from sharedmodel.client import connect
except ImportError as exc:
    print(exc)
"""


def test_elsewhere_than_on_linux_it_is_the_library_itself_after_one_warning(model: str) -> None:
    assert child(_ELSEWHERE, model).splitlines() == [
        "['sharedmodel shares models on Linux only, and this is darwin: onnxruntime runs in this process, "
        "with a copy of its own']",
        "connect: a host needs Linux, and this is darwin",
    ]


_LANGCHAIN = """
import sys
from sharedmodel.client import install
install()
from langchain_huggingface import HuggingFaceEmbeddings
embeddings = HuggingFaceEmbeddings(model_name=sys.argv[1])
print(len(embeddings.embed_query("hello")), len(embeddings.embed_documents(["a", "b c"])), "torch" in sys.modules)
"""


@pytest.mark.skipif(importlib.util.find_spec("langchain_huggingface") is None, reason="LangChain is not installed")
def test_langchains_embeddings_take_the_stand_in(stopped: None) -> None:
    with offline_with_cache():
        assert child(_LANGCHAIN, minilm()) == "384 2 False"
