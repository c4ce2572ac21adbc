"""Which model a session means: options, sharing, pickling, forks, restarts, bytes, and configured servers."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sharedmodel.client.onnxruntime as standin
from sharedmodel.client import connect
from sharedmodel.client.onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from sharedmodel.errors import BadArgument, HostUnavailable, NotPermitted
from sharedmodel.server.given import FOLDER, Given
from tests import onnx_graphs as graphs
from tests.both import alike, embedded_host, outcome
from tests.servers import Server, command, running_server, started
from tests.standin_workers import added, mistake

ort = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with embedded_host() as server:
        yield server


@pytest.fixture
def reached(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("SHAREDMODEL_ADDRESS", server.address)
    return server


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "add.onnx"
    path.write_bytes(graphs.add())
    return path


def ones(*shape: int) -> np.ndarray[Any, Any]:
    return np.ones(shape, "f4")


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
def test_results_with_options_are_those_of_onnxruntime(case: str, reached: Server) -> None:
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
    case: str, reached: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(library: Any) -> Any:
        with pytest.warns() as warned:
            import warnings

            warnings.warn("one at least", stacklevel=1)
            made = outcome(lambda: library.InferenceSession(graphs.add(), **PROVIDERS[case]).get_providers())
        return made, [str(w.message) for w in warned], capsys.readouterr().out

    assert told(standin) == told(ort)


def test_processes_that_start_at_once_and_ask_for_the_same_get_one_copy(
    model: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, root = [sys.executable, "-m", "tests.standin_workers", str(model)], Path(__file__).parent.parent
    try:
        running = [subprocess.Popen(code, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(4)]
        assert {process.communicate()[0] for process in running} == {"([2.0, 2.0, 2.0], [])\n"}
        with connect() as host:
            (state,) = host.models().values()
        assert state["state"] == "ready"
        log = next(Path(runtime).glob("e-*/embedded.log")).read_text()
        assert log.count("is ready after") == 1
    finally:
        command("stop")


def test_other_options_are_another_model_and_so_is_another_file_of_the_same_name(model: Path, reached: Server) -> None:
    def name_of(session: standin.InferenceSession) -> str:
        return session._backing.wanted.name

    options = standin.SessionOptions()
    first = standin.InferenceSession(model)
    assert name_of(standin.InferenceSession(str(model), options)) == name_of(first)
    options.intra_op_num_threads = 1
    assert name_of(standin.InferenceSession(model, options)) != name_of(first)
    model.unlink()
    model.write_bytes(graphs.add(("n", 2)))
    assert standin.InferenceSession(model).get_inputs()[0].shape == ["n", 2]
    assert first.get_inputs()[0].shape == ["n"]


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_session_works_in_the_processes_of_a_pool(method: str, model: Path, reached: Server) -> None:
    session = standin.InferenceSession(model)
    with ProcessPoolExecutor(2, get_context(method)) as pool:
        found = [task.result() for task in [pool.submit(added, session, number) for number in range(4)]]
        assert [total for total, _ in found] == [[n + 1.0] * 3 for n in range(4)]
        if method == "spawn":
            assert all(not heavy for _, heavy in found)
        with pytest.raises(InvalidArgument, match="Unexpected input data type"):
            pool.submit(mistake, session).result()
    assert added(session, 1)[0] == [2.0] * 3


def test_it_pickles_by_reference_without_the_bytes_it_was_made_of(reached: Server) -> None:
    graph = graphs.mlp(256, 2)
    session = standin.InferenceSession(graph, standin.SessionOptions())
    pickled = pickle.dumps(session)
    assert len(pickled) < 3000 < len(graph)
    alike(pickle.loads(pickled).run(None, {"x": ones(2, 64)}), session.run(None, {"x": ones(2, 64)}))


def test_it_survives_the_death_of_its_host_and_bytes_do_too(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with started(runtime, "serve", "--embedded") as server:
        monkeypatch.setenv("SHAREDMODEL_ADDRESS", server.address)
        session = pickle.loads(pickle.dumps(standin.InferenceSession(graphs.add())))
        assert added(session, 1)[0] == [2.0] * 3
        (kept,) = os.scandir(os.path.join(runtime, FOLDER))
        assert kept.stat().st_mode & 0o777 == 0o600 and os.stat(os.path.dirname(kept.path)).st_mode & 0o777 == 0o700
        server.kill_host()
        assert added(session, 2)[0] == [3.0] * 3
        server.process.send_signal(signal.SIGTERM)
        assert server.ends() == 0
        assert not os.path.exists(os.path.join(runtime, FOLDER))


def test_it_is_loaded_again_when_the_embedded_host_had_ended(
    runtime: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        session, given = standin.InferenceSession(model), standin.InferenceSession(graphs.add())
        orphan = pickle.loads(pickle.dumps(given))
        command("stop")
        assert added(session, 1)[0] == [2.0] * 3
        with pytest.raises(HostUnavailable, match="make the object here again"):
            added(orphan, 1)
        assert added(given, 1)[0] == added(orphan, 1)[0] == [2.0] * 3
    finally:
        command("stop")


def test_what_a_killed_server_left_is_removed_by_the_next(runtime: str) -> None:
    given = Given(runtime)
    digest = "0" * 64
    with pytest.raises(BadArgument, match="not those that were announced"):
        given.keep(digest, b"x")
    with pytest.raises(BadArgument, match="not a SHA-256"):
        given.path("../../etc/passwd")
    os.makedirs(os.path.join(runtime, FOLDER))
    Path(runtime, FOLDER, digest).write_bytes(b"left")
    with running_server('[models.echo]\nfactory = "zoo:Echo"\n', runtime):
        assert not os.path.exists(os.path.join(runtime, FOLDER))


CONFIG = """
[models.plain]
kind = "onnx"
path = "add.onnx"
threads = 1

[models.unoptimized]
kind = "onnx"
path = "add.onnx"
optimization = "none"
config = {"session.set_denormal_as_zero" = "1"}
"""


def test_a_configured_server_gives_the_model_it_lists_by_path_or_content_and_options(
    runtime: str, tmp_path: Path
) -> None:
    path = Path(runtime, "add.onnx")
    path.write_bytes(graphs.add())
    copied = tmp_path / "copy.onnx"
    copied.write_bytes(path.read_bytes())
    options = standin.SessionOptions()
    with running_server(CONFIG, runtime):
        for source in (path, copied, path.read_bytes()):
            session = standin.InferenceSession(source)
            assert session._backing.model._name == "plain"
            assert added(session, 1)[0] == [2.0] * 3
        options.graph_optimization_level = standin.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        assert standin.InferenceSession(copied, options)._backing.model._name == "unoptimized"


def test_a_configured_server_says_which_lines_to_add_and_they_are_right(runtime: str, tmp_path: Path) -> None:
    Path(runtime, "add.onnx").write_bytes(graphs.add())
    wanted = tmp_path / "other model.onnx"
    wanted.write_bytes(graphs.identity(("batch",)))
    options = standin.SessionOptions()
    options.intra_op_num_threads = 2
    options.execution_mode = standin.ExecutionMode.ORT_PARALLEL
    options.add_free_dimension_override_by_name("batch", 4)
    with running_server(CONFIG, runtime), pytest.raises(NotPermitted) as refused:
        standin.InferenceSession(wanted, options, providers=["CPUExecutionProvider"])
    text = str(refused.value)
    assert "config.toml" in text and "SIGHUP" in text
    lines = text[text.index("[models.") :]
    with running_server(CONFIG + lines, runtime):
        session = standin.InferenceSession(wanted, options)
        alike(session.run(None, {"x": ones(4)}), [ones(4)])
        with pytest.raises(NotPermitted, match=r'path = "\.\.\."  # a file with the bytes of SHA-256'):
            standin.InferenceSession(graphs.several_outputs())
