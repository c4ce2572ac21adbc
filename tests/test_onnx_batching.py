"""Batched runs against the same runs alone: equal results, own memory, and each its own failure."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from onnx import TensorProto

from sharedmodel import reply
from sharedmodel.encoder import INLINE_MAX
from sharedmodel.errors import Cancelled
from sharedmodel.server.models.onnx import OnnxModel
from sharedmodel.server.models.onnx_batching import OnnxBatching, batching_of
from sharedmodel.server.scheduling.batching import Request, Together, serving
from sharedmodel.server.scheduling.lanes import Lanes
from sharedmodel.server.scheduling.settings import Scheduling
from tests import onnx_graphs as graphs

from .jobs import FakeJob

Array = np.ndarray[Any, Any]


def floats(*shape: int, seed: int = 3) -> Array:
    array = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    array.flags.writeable = False
    return array


def batchable(graph: bytes) -> tuple[OnnxModel, OnnxBatching]:
    model = OnnxModel(graph, threads=1)
    batching = batching_of(model)
    assert batching is not None
    return model, batching


class Session:
    """A call as a model sees it: memory of its own, and a caller who may give up."""

    def __init__(self, cancelled: bool = False) -> None:
        self.cancelled = cancelled
        self.made: list[Array] = []
        self.callbacks: list[Callable[[], None]] = []

    def empty(self, shape: Any, dtype: Any, order: Any) -> Array:
        self.made.append(np.empty(shape, dtype, order))
        return self.made[-1]

    def add_callback(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def remove_callback(self, callback: Callable[[], None]) -> None:
        self.callbacks = [other for other in self.callbacks if other is not callback]

    def cancel(self) -> None:
        self.cancelled = True
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()


def asked(feed: Any, names: Any = None, session: Session | None = None) -> Request:
    return Request("run", [names, feed], {}, session)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


BATCHED: dict[str, tuple[Callable[[], bytes], Callable[[int, int], dict[str, Array]], float]] = {
    "identity": (graphs.identity, lambda n, seed: {"x": floats(n, seed=seed)}, 0),
    "identity of halves": (
        lambda: graphs.identity(("n", 3), TensorProto.FLOAT16),
        lambda n, seed: {"x": floats(n, 3, seed=seed).astype(np.float16)},
        0,
    ),
    "add": (graphs.add, lambda n, seed: {"x": floats(n, seed=seed), "y": floats(n, seed=seed + 1)}, 0),
    "lookup": (graphs.lookup, lambda n, seed: {"x": np.arange(n) + seed}, 0),
    "not contiguous": (graphs.identity, lambda n, seed: {"x": floats(2 * n, seed=seed)[::2]}, 0),
    # Kernels for other numbers of rows add in another order: a few units in the last place.
    "an mlp": (lambda: graphs.mlp(128, 4), lambda n, seed: {"x": floats(n, 64, seed=seed)}, 1e-5),
}


@pytest.mark.parametrize("case", BATCHED)
def test_batched_results_equal_those_of_runs_alone(case: str) -> None:
    make, feed, tolerance = BATCHED[case]
    model, batching = batchable(make())
    feeds = [feed(rows, seed) for seed, rows in enumerate((1, 3, 1, 2))]
    keys = {batching.measure("run", [None, feed], {}) for feed in feeds}
    assert len({key.key for key in keys if key}) == 1 and None not in keys
    results = batching.run([asked(feed) for feed in feeds])
    assert batching.honest
    for result, feed_of_one in zip(results, feeds, strict=True):
        for got, expected in zip(result, model.run(None, feed_of_one), strict=True):
            assert got.dtype == expected.dtype and got.shape == expected.shape
            scale = float(np.abs(expected).max())
            assert float(np.abs(got - expected).max()) <= tolerance * scale


def test_only_the_outputs_that_were_asked_for_come() -> None:
    _, batching = batchable(graphs.add())
    feed = {"x": floats(2), "y": floats(2)}
    ((one,), (two,)) = batching.run([asked(feed, ["z"]), asked(feed, ["z"])])
    assert (one == floats(2) * 2).all() and (two == one).all()


@pytest.mark.parametrize(
    "make",
    [
        graphs.several_outputs,  # two of its outputs have no rows
        graphs.shape_of,
        graphs.unnamed_shape,
        graphs.data_dependent,
        graphs.strings,
        graphs.sequence,
        graphs.reshape,
        graphs.counting,
        lambda: graphs.identity((4, 3)),
        lambda: graphs.identity(()),
    ],
)
def test_a_graph_whose_inputs_and_outputs_do_not_share_their_first_dimension_is_not_batched(
    make: Callable[[], bytes],
) -> None:
    assert batching_of(OnnxModel(make(), threads=1)) is None


X = {"x": floats(3), "y": floats(3)}
ALONE: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "another method": ("get_inputs", [], {}),
    "options": ("run", [None, X, {"log_severity_level": 3}], {}),
    "a name for a list of names": ("run", ["z", X], {}),
    "no names at all": ("run", [[], X], {}),
    "names that are none": ("run", [[1], X], {}),
    "no arguments": ("run", [], {}),
    "no names given": ("run", [], {"input_feed": X}),
    "too many arguments": ("run", [None, X, None, None], {}),
    "an unknown argument": ("run", [None, X], {"more": 1}),
    "no dict": ("run", [None, [1]], {}),
    "a missing input": ("run", [None, {"x": floats(3)}], {}),
    "an unknown input": ("run", [None, {"x": floats(3), "q": floats(3)}], {}),
    "a list for an array": ("run", [None, {"x": floats(3), "y": [1.0]}], {}),
    "another type": ("run", [None, {"x": floats(3), "y": np.ones(3)}], {}),
    "another rank": ("run", [None, {"x": floats(3), "y": floats(3, 1)}], {}),
    "a scalar": ("run", [None, {"x": floats(3), "y": np.float32(1)}], {}),
    "rows that are broadcast": ("run", [None, {"x": floats(3), "y": floats(1)}], {}),
    "no rows": ("run", [None, {"x": floats(0), "y": floats(0)}], {}),
}


@pytest.mark.parametrize("case", ALONE)
def test_what_is_not_quite_usual_runs_alone(case: str) -> None:
    _, batching = batchable(graphs.add())
    assert batching.measure(*ALONE[case]) is None
    assert batching.measure("run", [None, X, None], {}) is not None
    assert batching.measure("run", [], {"output_names": ["z"], "input_feed": X}) is not None


def test_an_argument_that_is_no_array_is_asked_nothing() -> None:
    class Foreign:
        """As a proxy whose host is far: what is asked of it is a call."""

        def __getattribute__(self, name: str) -> Any:
            if name == "__class__":
                return object.__getattribute__(self, name)
            raise RuntimeError(name)

    _, batching = batchable(graphs.add())
    assert batching.measure("run", [None, {"x": floats(3), "y": Foreign()}], {}) is None


def test_names_that_a_caller_made_up_are_not_kept() -> None:
    _, batching = batchable(graphs.add())
    tracemalloc.start()
    try:
        for at in range(100):
            batching.measure("run", [[f"{at}".zfill(100_000)], X], {})
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000


def test_only_equal_shapes_and_equal_outputs_go_together() -> None:
    _, batching = batchable(graphs.identity(("n", "length", 2)))

    def key(feed: Array, names: Any = None) -> Any:
        found = batching.measure("run", [names, {"x": feed}], {})
        assert found is not None
        return found.key

    assert key(floats(1, 5, 2)) == key(floats(9, 5, 2))
    assert len({key(floats(1, 5, 2)), key(floats(1, 6, 2)), key(floats(1, 5, 2), ["y"])}) == 3
    measure = batching.measure("run", [None, {"x": floats(3, 5, 2)}], {})
    assert measure is not None and (measure.rows, measure.length) == (3, 5)
    _, fixed = batchable(graphs.identity(("n", 64)))
    measure = fixed.measure("run", [None, {"x": floats(3, 64)}], {})
    assert measure is not None and (measure.rows, measure.length) == (3, 1)


def test_each_result_lies_in_memory_of_its_own_callers_session() -> None:
    _, batching = batchable(graphs.add())
    sessions = [Session(), Session()]
    rows = floats(INLINE_MAX)  # smaller ones ride in the frame
    results = batching.run([asked({"x": rows, "y": rows}, session=session) for session in sessions])
    for session, (result,) in zip(sessions, results, strict=True):
        assert [made is result for made in session.made] == [True]
        assert result.base is None and not session.callbacks
    assert not np.shares_memory(results[0][0], results[1][0])


def test_only_the_row_that_fails_fails() -> None:
    model, batching = batchable(graphs.lookup())
    session = Session()
    feeds = [{"x": np.array([1])}, {"x": np.array([99])}, {"x": np.array([3, 4])}]
    first, wrong, last = batching.run([asked(feed, session=session) for feed in feeds])
    assert first[0].tolist() == [[4, 5, 6, 7]] and last[0].shape == (2, 4)
    assert any(last[0] is made for made in session.made)  # a run alone serves its own call
    with pytest.raises(type(wrong)) as alone:
        model.run(None, feeds[1])
    assert str(wrong) == str(alone.value) and batching.honest


def test_a_graph_that_lies_about_its_rows_is_found_out_and_runs_alone_from_then_on() -> None:
    model, batching = batchable(graphs.wrongly_named())
    feeds = [{"x": floats(2)}, {"x": floats(3)}]
    results = batching.run([asked(feed) for feed in feeds])
    assert [result[0].tolist() for result in results] == [model.run(None, feed)[0].tolist() for feed in feeds]
    assert not batching.honest and batching.measure("run", [None, feeds[0]], {}) is None


def test_who_gave_up_gets_no_result_and_the_others_do() -> None:
    _, batching = batchable(graphs.add())
    gone = Session(cancelled=True)
    one, two = batching.run([asked(X, session=gone), asked(X, session=Session())])
    assert isinstance(one, Cancelled) and not gone.made
    assert two[0].tolist() == (X["x"] * 2).tolist()
    _, lookup = batchable(graphs.lookup())
    one, two = lookup.run([asked({"x": np.array([99])}, session=session) for session in (gone, Session())])
    assert isinstance(one, Cancelled) and not isinstance(two, Cancelled) and isinstance(two, Exception)


def test_a_batch_is_given_up_once_the_last_of_its_callers_has() -> None:
    sessions = [Session(), Session(), Session(cancelled=True)]
    together, heard = Together(sessions), []
    with serving(together):
        with reply.on_cancel(lambda: heard.append("stop")):
            sessions[2].cancel()
            sessions[0].cancel()
            sessions[0].cancel()
            assert not heard and not reply.cancelled()
            sessions[1].cancel()
            assert heard == ["stop"] and reply.cancelled()
        assert not any(session.callbacks for session in sessions)
    assert reply.current.call is None


def test_a_batch_whose_callers_have_all_gone_is_given_up_before_it_begins() -> None:
    together, heard = Together([Session(cancelled=True), Session(cancelled=True)]), []
    with serving(together), reply.on_cancel(lambda: heard.append("stop")):
        assert heard == ["stop"]


def test_a_batch_may_be_given_up_and_over_before_its_last_call_has_taken_the_callback() -> None:
    heard: list[str] = []

    def stop() -> None:
        heard.append("stop")
        together.remove_callback(stop)

    class Hasty(Session):
        def add_callback(self, callback: Callable[[], None]) -> None:
            super().add_callback(callback)
            self.cancel()

    together = Together([Hasty()])
    together.add_callback(stop)
    assert heard == ["stop"]


@pytest.mark.usefixtures("no_collector")
def test_a_batch_that_is_over_is_given_up_by_nobody_and_keeps_nobody() -> None:
    sessions = [Session(), Session()]
    refs = [weakref.ref(session) for session in sessions]
    together, heard = Together(sessions), []
    with serving(together), reply.on_cancel(lambda: heard.append("stop")):
        sessions[1].cancel()
    for session in sessions:
        session.cancel()
    assert not heard
    del together, session
    sessions.clear()
    assert [ref() for ref in refs] == [None, None]


@pytest.mark.usefixtures("no_collector")
def test_inputs_are_kept_by_nobody_once_the_batch_is_done() -> None:
    _, batching = batchable(graphs.lookup())
    arrays = [np.array([1]), np.array([99])]
    refs = [weakref.ref(array) for array in arrays]
    for feeds in ([0, 0], [0, 1]):
        results = batching.run([asked({"x": arrays[at]}) for at in feeds])
        for result in results:
            exc = result if isinstance(result, BaseException) else None
            while exc is not None:
                exc.__traceback__ = None  # as the host does once it is sent
                exc = exc.__context__
    arrays.clear()
    assert [ref() for ref in refs] == [None, None]


def test_many_threads_share_one_batched_model() -> None:
    model, batching = batchable(graphs.mlp(128, 4))

    class Job(FakeJob):
        def __init__(self, feed: dict[str, Array]) -> None:
            measure = batching.measure("run", [None, feed], {})
            assert measure is not None
            super().__init__(threading.get_ident(), *measure, work=lambda: model.run(None, feed))
            self.feed = feed

        def request(self) -> Request:
            return asked(self.feed)

    def check(number: int) -> None:
        feed = {"x": floats(number % 3 + 1, 64, seed=number)}
        job = Job(feed)
        lanes.submit(job)
        (got,), (expected,) = job.end, model.run(None, feed)
        assert np.allclose(got, expected, rtol=1e-5, atol=1e-5 * float(np.abs(expected).max()))

    lanes: Lanes[Job] = Lanes("mlp", Scheduling(max_batch=8, max_wait=0.005, lanes=2), batching)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check, range(200)))
    assert max(lanes.counts().batches) > 1 and lanes.counts().served == 200


def test_a_batch_that_runs_out_of_memory_is_halved_and_only_the_row_that_never_fits_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, batching = batchable(graphs.identity())
    run, sizes = model.run, []

    def within_memory(names: Any, feed: Any, options: Any = None) -> Any:
        sizes.append(len(feed["x"]))
        if sizes[-1] > 4:
            raise RuntimeError("bfc_arena.cc: Failed to allocate memory for requested buffer of size 8")
        return run(names, feed, options)

    monkeypatch.setattr(model, "run", within_memory)
    feeds = [{"x": floats(rows, seed=rows)} for rows in (1, 2, 1, 9, 2, 1, 3, 1)]
    results = batching.run([asked(feed, session=Session()) for feed in feeds])
    for feed, result in zip(feeds, results, strict=True):
        if len(feed["x"]) == 9:
            assert isinstance(result, RuntimeError)
        else:
            assert (result[0] == feed["x"]).all()
    assert sizes == [20, 13, 3, 10, 1, 9, 7, 3, 4]  # not each alone
    assert batching.honest
