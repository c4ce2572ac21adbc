"""Adapters on GPUs: what libraries are told, and what is said where they can't. Parity is tested where a GPU is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

onnxruntime = pytest.importorskip("onnxruntime")

from sharedmodel.errors import BadArgument, LoadFailed  # noqa: E402
from sharedmodel.objects import Objects  # noqa: E402
from sharedmodel.server import drain, making  # noqa: E402
from sharedmodel.server.lease import Leased  # noqa: E402
from sharedmodel.server.machine.gpu import gpus  # noqa: E402
from sharedmodel.server.machine.seat import Seat  # noqa: E402
from sharedmodel.server.matching import Wanted, find  # noqa: E402
from sharedmodel.server.models.onnx import OnnxModel  # noqa: E402
from sharedmodel.server.models.onnx_device import CUDA_PROVIDER, arenas, check_begun, providers_on  # noqa: E402
from sharedmodel.server.models.torch_device import TorchDevice  # noqa: E402
from sharedmodel.server.settings import ModelSettings  # noqa: E402
from sharedmodel.server.table import Table  # noqa: E402
from tests import onnx_graphs as graphs  # noqa: E402
from tests.cards import MIB, Cards  # noqa: E402
from tests.embedding_models import NEEDED, minilm, offline_with_cache  # noqa: E402

ABLE = CUDA_PROVIDER in onnxruntime.get_available_providers()
without_cuda = pytest.mark.skipif(ABLE, reason="this onnxruntime is the one for GPUs")


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An onnxruntime that says it can."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA_PROVIDER, "CPUExecutionProvider"])
    yield


@pytest.mark.usefixtures("providers")
def test_onnxruntime_is_told_the_gpu_and_how_much_of_it_an_arena_may_take() -> None:
    asked: dict[str, Any] = {"device_id": 1, "arena_extend_strategy": "kSameAsRequested", "use_tf32": 0}
    rest = "CPUExecutionProvider"
    assert providers_on("cuda:1", None, ()) == [(CUDA_PROVIDER, asked), rest]
    assert providers_on("cuda:1", 70, ()) == [(CUDA_PROVIDER, {**asked, "gpu_mem_limit": 70}), rest]
    assert providers_on("cpu", 70, ("Mine",)) == ["Mine"]


def test_a_session_that_went_on_with_processors_is_an_error() -> None:
    session = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    check_begun(session, "cpu")
    with pytest.raises(RuntimeError, match="could not begin on cuda:0, and would have gone on with processors"):
        check_begun(session, "cuda:0")
    check_begun(SimpleNamespace(get_providers=lambda: [CUDA_PROVIDER]), "cuda:0")


def test_the_arenas_of_a_session_are_those_of_its_providers() -> None:
    with_arena, without = (SimpleNamespace(enable_cpu_mem_arena=able) for able in (True, False))
    session = SimpleNamespace(get_provider_options=lambda: {CUDA_PROVIDER: {"device_id": "1"}})
    assert (arenas(session, with_arena), arenas(session, without)) == ("cpu:0;gpu:1", "gpu:1")
    assert arenas(SimpleNamespace(get_provider_options=dict), without) == ""


@without_cuda
def test_an_onnxruntime_without_cuda_says_which_one_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Cards(tmp_path, monkeypatch, 1000)
    (tmp_path / "add.onnx").write_bytes(graphs.add())
    table = Table(Objects())
    settings = ModelSettings(kind="onnx", options={"path": str(tmp_path / "add.onnx")}, device="cuda")
    table.add("add", settings)
    with pytest.raises(LoadFailed, match=r"can't run on cuda:0: it has .*; install onnxruntime-gpu in its place"):
        table.load("add")


def test_an_adapter_is_given_the_gpu_that_was_chosen_and_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    class Told:
        def __init__(self, **options: Any) -> None:
            given.update(options)

    monkeypatch.setattr(making, "adapter", lambda kind: Told)
    settings = ModelSettings(kind="sapiens", options={"path": "/m"}, device="cuda")
    making.make("m", settings, None, Seat("cuda:1", 70))
    assert given == {"path": "/m", "device": "cuda:1", "device_memory": 70}


@pytest.mark.parametrize(
    ("providers", "meant"),
    [(None, True), ([CUDA_PROVIDER, "CPUExecutionProvider"], True), (["TensorrtExecutionProvider"], False)],
)
def test_a_model_on_a_gpu_is_meant_by_who_asks_for_cuda_or_for_nothing(providers: Any, meant: bool) -> None:
    options = {"path": "/add.onnx"}
    models = {"add": ModelSettings(kind="onnx", options=options | {"device_memory": 5}, device="cuda")}
    asked = options | ({} if providers is None else {"providers": providers, "provider_options": [{"device_id": "0"}]})
    assert find(models, Wanted("onnx", asked, {})) == ("add" if meant else None)
    on_processors = {"add": ModelSettings(kind="onnx", options=options)}
    assert find(on_processors, Wanted("onnx", asked, {})) == ("add" if providers is None else None)


def test_pytorch_that_can_not_says_so_and_one_that_can_is_told_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadArgument, match=r"PyTorch .* can't run on cuda:0"):
        TorchDevice("cuda:0")
    told: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda name: SimpleNamespace(total_memory=100))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: told.append(given))
    TorchDevice("cuda:1", 25)
    TorchDevice("cuda:0", 500)
    assert told == [(0.25, "cuda:1"), (1.0, "cuda:0")]
    with pytest.raises(BadArgument, match="can't run on cuda:2: it sees 2 GPUs"):
        TorchDevice("cuda:2")


def test_what_pytorch_keeps_of_a_gpu_is_given_back_with_a_model_and_when_it_shrinks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    emptied: list[None] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(None))
    drain.drain("m", Leased("m", "m", object(), ()))
    assert not emptied  # it was never used
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    drain.drain("m", Leased("m", "m", object(), ()))
    assert len(emptied) == 1
    TorchDevice("cpu").shrink()
    assert len(emptied) == 1
    on_gpu = TorchDevice("cpu")
    on_gpu.name = "cuda:0"
    on_gpu.shrink()
    assert len(emptied) == 2


def test_ctranslate2_that_can_not_says_so() -> None:
    pytest.importorskip("ctranslate2")
    from sharedmodel.server.models.translation.engines import Ct2Engine

    tokens: Any = None
    with pytest.raises(BadArgument, match=r"CTranslate2 .* can't run on cuda:99: it sees"):
        Ct2Engine("nowhere", tokens, positions=9, int8=False, threads=1, seat=Seat("cuda:99"))


def test_a_model_of_texts_warms_up_on_a_gpu_with_as_many_tokens_as_a_run_may_have() -> None:
    for needed in NEEDED:
        pytest.importorskip(needed)
    from sharedmodel.server.models.embedder import EmbedderModel

    with offline_with_cache():
        model = EmbedderModel(minilm(), threads=1, tokens_per_run=1024)
    assert model.warmup() is None
    model._device = "cuda:0"
    probe = model.warmup()
    assert probe is not None
    rows = model.rows(*probe["args"])
    assert [len(row.ids) for row in rows] == [model.max_length] * (1024 // model.max_length)
    leased = Leased("m", "m", model, ("embed",))
    (warmup,) = making.warmups(leased, ModelSettings(kind="embedder", device="cuda"))
    warmup.sing(model)
    model.close()


@pytest.mark.skipif(not (ABLE and gpus()), reason="no GPU here: not verified")
def test_a_model_on_a_gpu_gives_what_it_gives_on_processors() -> None:
    graph = graphs.mlp(width=64, layers=3)
    x = np.random.default_rng(0).standard_normal((5, 64), np.float32)
    here, there = OnnxModel(graph, threads=1), OnnxModel(graph, device="cuda:0", device_memory=2048 * MIB)
    for _ in range(3):  # bound in place once shapes are known, and after the arena was shrunk
        (expected,) = here.run(None, {"x": x})
        (found,) = there.run(None, {"x": x})
        np.testing.assert_allclose(found, expected, atol=1e-4)
        there.shrink()
