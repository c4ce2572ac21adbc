"""IOBinding, OrtValue, asynchronous runs and RunOptions of the stand-in, beside onnxruntime's own."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

ort = pytest.importorskip("onnxruntime")

import sharedmodel.client.onnxruntime as standin  # noqa: E402
from sharedmodel.client import connect  # noqa: E402
from sharedmodel.sessions import SESSIONS  # noqa: E402
from tests import onnx_graphs as graphs  # noqa: E402
from tests.both import alike, embedded_host, outcome  # noqa: E402
from tests.servers import Server  # noqa: E402

LIBRARIES = pytest.mark.parametrize("library", [standin, ort], ids=["ours", "theirs"])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with embedded_host() as server:
        yield server


@pytest.fixture(autouse=True)
def reached(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAREDMODEL_ADDRESS", server.address)


def ones(*shape: int) -> np.ndarray[Any, Any]:
    return np.ones(shape, "f4")


@LIBRARIES
def test_bound_arrays_are_read_when_the_run_begins_and_outputs_keep_their_place(library: Any) -> None:
    session = library.InferenceSession(graphs.add())
    binding, x = session.io_binding(), ones(3)
    binding.bind_cpu_input("x", x)
    binding.bind_cpu_input("y", x)
    binding.bind_output("z")
    session.run_with_iobinding(binding)
    first, copy = binding.get_outputs()[0], binding.copy_outputs_to_cpu()[0]
    view = first.numpy()
    x[:] = 2
    session.run_with_iobinding(binding)
    assert copy.tolist() == [2, 2, 2]
    assert view.tolist() == first.numpy().tolist() == binding.copy_outputs_to_cpu()[0].tolist() == [4, 4, 4]
    assert first.data_ptr() == binding.get_outputs()[0].data_ptr()


@LIBRARIES
def test_outputs_are_written_to_the_address_that_is_bound(library: Any) -> None:
    session = library.InferenceSession(graphs.add())
    binding, x, z = session.io_binding(), ones(100_000), np.zeros(100_000, "f4")
    binding.bind_input("x", "cpu", 0, np.float32, [100_000], x.ctypes.data)
    binding.bind_input("y", "cpu", 0, 1, [100_000], x.ctypes.data)
    binding.bind_output("z", "cpu", 0, np.float32, [100_000], z.ctypes.data)
    session.run_with_iobinding(binding)
    assert (z == 2).all()
    assert binding.get_outputs()[0].data_ptr() == z.ctypes.data


@LIBRARIES
def test_ort_values_are_bound_and_run(library: Any) -> None:
    session = library.InferenceSession(graphs.add())
    value = library.OrtValue.ortvalue_from_numpy(ones(4))
    target = library.OrtValue.ortvalue_from_shape_and_type([4], np.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", value)
    binding.bind_ortvalue_input("y", value)
    binding.bind_ortvalue_output("z", target)
    session.run_with_iobinding(binding)
    assert target.numpy().tolist() == [2, 2, 2, 2]
    (out,) = session.run_with_ort_values(None, {"x": value, "y": target})
    assert out.numpy().tolist() == [3, 3, 3, 3]
    assert session.run(["z"], {"x": out, "y": value})[0].tolist() == [4, 4, 4, 4]


def wrong_shape(library: Any, session: Any) -> None:
    binding, x, z = session.io_binding(), ones(3), ones(2)
    binding.bind_cpu_input("x", x)
    binding.bind_cpu_input("y", x)
    binding.bind_output("z", "cpu", 0, np.float32, [2], z.ctypes.data)
    session.run_with_iobinding(binding)


def wrong_output_type(library: Any, session: Any) -> None:
    binding, x, z = session.io_binding(), ones(3), np.ones(3)
    binding.bind_cpu_input("x", x)
    binding.bind_cpu_input("y", x)
    binding.bind_output("z", "cpu", 0, np.float64, [3], z.ctypes.data)
    session.run_with_iobinding(binding)


def another_length(library: Any, session: Any) -> None:
    binding = session.io_binding()
    for size in (3, 5):
        binding.bind_cpu_input("x", ones(size))
        binding.bind_cpu_input("y", ones(size))
        if size == 3:
            binding.bind_output("z")
        session.run_with_iobinding(binding)


def wrong_input_type(library: Any, session: Any) -> None:
    binding = session.io_binding()
    binding.bind_cpu_input("x", np.ones(3))
    binding.bind_cpu_input("y", ones(3))
    binding.bind_output("z")
    session.run_with_iobinding(binding)


def unknown_output(library: Any, session: Any) -> None:
    binding = session.io_binding()
    binding.bind_cpu_input("x", ones(3))
    binding.bind_cpu_input("y", ones(3))
    binding.bind_output("nope")
    session.run_with_iobinding(binding)


def half_bound(library: Any, session: Any) -> None:
    binding = session.io_binding()
    binding.bind_cpu_input("x", ones(3))
    binding.bind_output("z")
    session.run_with_iobinding(binding)


def another_sessions(library: Any, session: Any) -> None:
    session.run_with_iobinding(library.InferenceSession(graphs.identity()).io_binding())


def half_an_address(library: Any, session: Any) -> None:
    session.io_binding().bind_output("z", "cpu", 0, None, [2], ones(2).ctypes.data)


MISTAKES: dict[str, Callable[[Any, Any], Any]] = {
    **{f.__name__: f for f in (wrong_shape, wrong_output_type, another_length, wrong_input_type, unknown_output)},
    **{f.__name__: f for f in (half_bound, another_sessions, half_an_address)},
    "nothing bound": lambda library, session: session.run_with_iobinding(session.io_binding()),
    "an unknown input": lambda library, session: session.io_binding().bind_cpu_input("nope", ones(2)),
    "a list for an array": lambda library, session: session.io_binding().bind_cpu_input("x", [1.0]),
    "an unknown device": lambda library, session: session.io_binding().bind_output("z", "foo"),
    "an unknown value": lambda library, session: session.io_binding().bind_ortvalue_input(
        "nope", library.OrtValue.ortvalue_from_numpy(ones(2))
    ),
    "a value of a list": lambda library, session: library.OrtValue.ortvalue_from_numpy([1.0]),
    "a value of strings": lambda library, session: library.OrtValue.ortvalue_from_numpy(np.array(["a"])),
    "a value elsewhere": lambda library, session: library.OrtValue.ortvalue_from_numpy(ones(2), "cuda"),
    "a value of no type": lambda library, session: library.OrtValue.ortvalue_from_shape_and_type([2], "x"),
    "an update that is too long": lambda library, session: library.OrtValue.ortvalue_from_numpy(ones(2)).update_inplace(
        ones(3)
    ),
    "an update by a list": lambda library, session: library.OrtValue.ortvalue_from_numpy(ones(2)).update_inplace([1]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_raises_what_onnxruntime_raises(case: str) -> None:
    graph, mistake = graphs.add(), MISTAKES[case]
    theirs = ort.InferenceSession(graph)
    ours = standin.InferenceSession(graph)
    expected = outcome(lambda: mistake(ort, theirs))
    assert outcome(lambda: mistake(standin, ours)) == expected
    assert isinstance(expected, tuple), "it is no mistake"


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"])
def test_an_ort_value_tells_what_onnxruntimes_tells(dtype: str) -> None:
    array = np.ones((2, 3), dtype)
    ours, theirs = standin.OrtValue.ortvalue_from_numpy(array), ort.OrtValue.ortvalue_from_numpy(array)
    for name in (
        "shape", "data_type", "element_type", "device_name", "tensor_size_in_bytes", "is_tensor", "has_value",
        "is_sparse_tensor", "is_tensor_sequence", "data_ptr", "numpy", "__dlpack_device__",
    ):  # fmt: skip
        alike(getattr(ours, name)(), getattr(theirs, name)())
    assert np.shares_memory(np.asarray(ours), array)
    assert np.from_dlpack(ours).tolist() == array.tolist()
    ours.update_inplace(np.zeros((3, 2), dtype))
    assert not array.any()


def test_arrays_in_shared_memory_are_not_copied_whether_given_or_bound_by_address() -> None:
    session = standin.InferenceSession(graphs.add())
    x, y = session.empty(300_000, "f4"), standin.OrtValue.ortvalue_from_shape_and_type([300_000], np.float32)
    x[...], y.numpy()[...] = 1, 2
    owner = SESSIONS.current(connect().address).channel.requests
    held = owner.live_bytes
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, np.float32, [300_000], x.ctypes.data)
    binding.bind_ortvalue_input("y", y)
    assert owner.find(binding._inputs["x"]) is not None
    assert owner.find(binding._inputs["y"]) is not None
    binding.bind_output("z")
    session.run_with_iobinding(binding)
    assert owner.live_bytes == held
    assert (binding.get_outputs()[0].numpy() == 3).all()


@LIBRARIES
def test_an_asynchronous_run_calls_back_with_results_or_with_the_reason(library: Any) -> None:
    options = library.SessionOptions()
    options.intra_op_num_threads = 2
    session = library.InferenceSession(graphs.add(), options)
    told: list[Any] = []
    called = threading.Event()

    def callback(results: Any, data: Any, error: str) -> None:
        told.append((results, data, error))
        called.set()

    for feed in ({"x": ones(3), "y": ones(3)}, {"x": ones(3), "y": np.ones(3)}):
        session.run_async(None, feed, callback, "data")
        assert called.wait(30)
        called.clear()
    (results, data, error), (nothing, _, reason) = told
    alike(results, [ones(3) * 2])
    assert (data, error, nothing) == ("data", "", [])
    assert reason == "Unexpected input data type. Actual: (tensor(double)) , expected: (tensor(float))"


def test_asynchronous_runs_that_can_not_begin_raise_what_onnxruntime_raises() -> None:
    def on_one_thread(library: Any) -> Any:
        options = library.SessionOptions()
        options.intra_op_num_threads = 1
        session = library.InferenceSession(graphs.add(), options)
        return outcome(lambda: session.run_async(None, {"x": ones(3), "y": ones(3)}, print, None))

    assert on_one_thread(standin) == on_one_thread(ort)
    ours, theirs = standin.InferenceSession(graphs.add()), ort.InferenceSession(graphs.add())
    assert outcome(lambda: ours.run_async(None, {}, print, None)) == outcome(
        lambda: theirs.run_async(None, {}, print, None)
    )
    with pytest.raises(TypeError):
        ours.run_async(None, {"x": ones(3), "y": ones(3)}, 3, None)


@LIBRARIES
def test_a_run_is_terminated_from_another_thread_and_so_is_each_after_it(library: Any) -> None:
    session = library.InferenceSession(graphs.counting())
    options = library.RunOptions()
    endless = {"limit": np.array(10**12), "x": np.zeros(1, "f4")}
    timer = threading.Timer(0.1, setattr, (options, "terminate", True))
    timer.start()
    for where in ("Non-zero status code returned while running Loop node. Name:'' Status Message: ", ""):
        assert outcome(lambda: session.run(None, endless, options)) == (
            "Fail", f"[ONNXRuntimeError] : 1 : FAIL : {where}Exiting due to terminate flag being set to true.",
        )  # fmt: skip
        timer.join()
    options.terminate = False
    alike(session.run(None, {**endless, "limit": np.array(3)}, options), [np.full(1, 3, "f4")])


def test_run_options_go_with_the_call_and_pickle() -> None:
    session = standin.InferenceSession(graphs.add())
    options = standin.RunOptions()
    options.log_severity_level = 3
    options.only_execute_path_to_fetches = True
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    again = pickle.loads(pickle.dumps(options))
    assert again.get_run_config_entry("memory.enable_memory_arena_shrinkage") == "cpu:0"
    assert again.log_severity_level == 3 and not again.terminate
    alike(session.run(None, {"x": ones(3), "y": ones(3)}, again), [ones(3) * 2])
    for wrong in (3, {}):
        with pytest.raises(TypeError):
            session.run(None, {"x": ones(3), "y": ones(3)}, wrong)
