"""Which model a session means: sharing, pickling, forks, restarts, bytes, and configured servers."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sharedmodel.client.onnxruntime as standin
from sharedmodel.client import connect
from sharedmodel.client.onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument
from sharedmodel.errors import BadArgument, HostUnavailable, NotPermitted
from sharedmodel.server.given import FOLDER, Given
from tests import doc_pages
from tests import onnx_graphs as graphs
from tests.both import alike, embedded_host
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
        assert log.count("is ready: loaded in") == 1
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


def test_many_threads_use_one_session_at_once(reached: Server) -> None:
    graph = graphs.mlp(128, 2)
    session, theirs = standin.InferenceSession(graph), ort.InferenceSession(graph)
    feeds = [{"x": np.random.default_rng(n).standard_normal((n % 5 + 1, 64), dtype=np.float32)} for n in range(60)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda feed: session.run(None, feed), feeds))
    alike(found, [theirs.run(None, feed) for feed in feeds])


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


def test_models_with_equal_files_and_other_weights_beside_them_are_not_taken_for_one_another(
    runtime: str, tmp_path: Path
) -> None:
    import onnx

    for folder in (Path(runtime), tmp_path):
        model = onnx.load_from_string(graphs.mlp(16, 1))
        onnx.save_model(model, folder / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert Path(runtime, "m.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()
    with running_server('[models.theirs]\nkind = "onnx"\npath = "m.onnx"\n', runtime):
        assert standin.InferenceSession(Path(runtime, "m.onnx"))._backing.model._name == "theirs"
        with pytest.raises(NotPermitted):
            standin.InferenceSession(tmp_path / "m.onnx")


def test_a_model_with_several_hosts_of_its_own_is_found_and_its_runs_are_terminated(runtime: str) -> None:
    Path(runtime, "add.onnx").write_bytes(graphs.add())
    Path(runtime, "counting.onnx").write_bytes(graphs.counting())
    config = '[models.counting]\nkind = "onnx"\npath = "counting.onnx"\nisolate = true\ninstances = 2\n'
    with running_server(CONFIG + config, runtime):
        session = standin.InferenceSession(graphs.counting())
        assert session._backing.model._name == "counting"
        options = standin.RunOptions()
        timer = threading.Timer(0.1, setattr, (options, "terminate", True))
        timer.start()
        with pytest.raises(Fail, match="terminate flag"):
            session.run(None, {"limit": np.array(10**12), "x": np.zeros(1, "f4")}, options)
        timer.join()


def test_what_its_page_in_the_documentation_says_works(reached: Server, tmp_path: Path) -> None:
    (tmp_path / "add.onnx").write_bytes(graphs.add(("n", "m")))
    found = doc_pages.prints("onnxruntime", tmp_path)
    assert found == ["[[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]", "['x', 'y'] ['CPUExecutionProvider']"]
