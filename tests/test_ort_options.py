"""SessionOptions and providers of the stand-in, beside onnxruntime's own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

ort = pytest.importorskip("onnxruntime")

import sharedmodel.client.onnxruntime as standin  # noqa: E402
from tests import onnx_graphs as graphs  # noqa: E402
from tests.both import alike, embedded_host, outcome  # noqa: E402
from tests.servers import Server  # noqa: E402


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with embedded_host() as server:
        yield server


@pytest.fixture
def reached(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAREDMODEL_ADDRESS", server.address)


def threads(library: Any, options: Any) -> None:
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1


def levels(library: Any, options: Any) -> None:
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_DISABLE_ALL


def parallel(library: Any, options: Any) -> None:
    options.execution_mode = library.ExecutionMode.ORT_PARALLEL
    options.inter_op_num_threads = 2


def entries(library: Any, options: Any) -> None:
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    assert options.get_session_config_entry("session.set_denormal_as_zero") == "1"


def by_name(library: Any, options: Any) -> None:
    options.add_free_dimension_override_by_name("batch", 2)


def by_denotation(library: Any, options: Any) -> None:
    options.add_free_dimension_override_by_denotation("DATA_BATCH", 2)


def without_effect(library: Any, options: Any) -> None:
    options.enable_cpu_mem_arena = options.enable_mem_pattern = options.enable_mem_reuse = False
    options.log_severity_level, options.logid, options.log_verbosity_level = 4, "mine", 0
    options.execution_order = library.ExecutionOrder.PRIORITY_BASED
    options.use_deterministic_compute = True


OPTIONS = {f.__name__: f for f in (threads, levels, parallel, entries, by_name, by_denotation, without_effect)}


@pytest.mark.parametrize("case", OPTIONS)
def test_results_with_options_are_those_of_onnxruntime(case: str, reached: None) -> None:
    graph = graphs.mlp(64, 3)

    def ran(library: Any) -> Any:
        options = library.SessionOptions()
        OPTIONS[case](library, options)
        session = library.InferenceSession(graph, options)
        shapes = [arg.shape for arg in (*session.get_inputs(), *session.get_outputs())]
        x = np.random.default_rng(1).standard_normal((3, 64), dtype=np.float32)
        return [shapes, *(outcome(lambda rows=rows: session.run(None, {"x": x[:rows]})) for rows in (2, 3))]

    alike(ran(standin), ran(ort))


MISTAKES: dict[str, Callable[[Any, Any], Any]] = {
    "text for a number": lambda library, o: setattr(o, "intra_op_num_threads", "a"),
    "an unknown attribute": lambda library, o: setattr(o, "nope", 1),
    "a number for a level": lambda library, o: setattr(o, "graph_optimization_level", 99),
    "None for a level": lambda library, o: setattr(o, "graph_optimization_level", None),
    "a number for a mode": lambda library, o: setattr(o, "execution_mode", 1),
    "a number for text": lambda library, o: setattr(o, "logid", 1),
    "an entry that is no text": lambda library, o: o.add_session_config_entry("a", 1),
    "an entry without a name": lambda library, o: o.add_session_config_entry("", "1"),
    "an entry that is not there": lambda library, o: o.get_session_config_entry("nope"),
    "a dimension of text": lambda library, o: o.add_free_dimension_override_by_name("n", "x"),
    "a dimension without a name": lambda library, o: o.add_free_dimension_override_by_name(3, 3),
    "an entry of a run that is not there": lambda library, o: library.RunOptions().get_run_config_entry("nope"),
    "a fraction for a level": lambda library, o: setattr(library.RunOptions(), "log_severity_level", 1.5),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_options_refuse_what_onnxruntimes_refuse(case: str) -> None:
    ours = outcome(lambda: MISTAKES[case](standin, standin.SessionOptions()))
    theirs = outcome(lambda: MISTAKES[case](ort, ort.SessionOptions()))
    assert ours[0] == theirs[0]
    assert theirs[0] != "RuntimeError" or ours == theirs


REFUSED: dict[str, Callable[[Any], Any]] = {
    "register_custom_ops_library": lambda o: o.register_custom_ops_library("ops.so"),
    "add_initializer": lambda o: o.add_initializer("w", None),
    "enable_profiling": lambda o: setattr(o, "enable_profiling", True),
    "optimized_model_filepath": lambda o: setattr(o, "optimized_model_filepath", "x"),
    "set_provider_selection_policy_delegate": lambda o: o.set_provider_selection_policy_delegate(print),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_carried_is_refused_by_name(name: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"SessionOptions\.{name}.*not carried"):
        REFUSED[name](standin.SessionOptions())


PROVIDERS: dict[str, dict[str, Any]] = {
    "the processor": {"providers": ["CPUExecutionProvider"]},
    "with options": {"providers": [("CPUExecutionProvider", {"a": 1})]},
    "with options apart": {"providers": ["CPUExecutionProvider"], "provider_options": [{}]},
    "one that is not there": {"providers": ["CUDAExecutionProvider", "CPUExecutionProvider"]},
    "twice": {"providers": ["CPUExecutionProvider", "CPUExecutionProvider"]},
    "a number in a list": {"providers": [3]},
    "a number": {"providers": 3},
    "too few options": {"providers": ["CPUExecutionProvider"], "provider_options": []},
    "a mistake without fallback": {"providers": [3], "enable_fallback": 0},
    "an optimizer left out": {"disabled_optimizers": ["ConstantFolding"]},
    "an unknown word": {"foo": 3},
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("case", PROVIDERS)
def test_providers_are_taken_and_refused_as_onnxruntime_does(
    case: str, reached: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(library: Any) -> Any:
        with pytest.warns() as warned:
            warnings.warn("one at least", stacklevel=1)
            made = outcome(lambda: library.InferenceSession(graphs.add(), **PROVIDERS[case]).get_providers())
        return made, [str(w.message) for w in warned], capsys.readouterr().out

    assert told(standin) == told(ort)
