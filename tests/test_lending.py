"""An OCR library's object, lent to each call with the threads that there are for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rapidocr")
onnxruntime = pytest.importorskip("onnxruntime")

from sharedmodel.errors import BadArgument  # noqa: E402
from sharedmodel.server.models import lending  # noqa: E402
from sharedmodel.server.models.lending import Lent, patient  # noqa: E402
from sharedmodel.server.models.rapid import own_engine  # noqa: E402
from tests import onnx_graphs as graphs  # noqa: E402


class Engine:
    def __init__(self, threads: int) -> None:
        self.threads = threads


def lent(threads: int | None, made: list[int], copyable: bool = True) -> Lent:
    def make(count: int) -> Engine:
        made.append(count)
        return Engine(count)

    return Lent(make, threads, lambda engine, options: engine, "reading", lambda engine: copyable)


def holding(graph: bytes) -> Lent:
    """What holds a session as RapidOCR's engines do."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return Lent(lambda _: SimpleNamespace(session=SimpleNamespace(session=session)), 1, own_engine, "reading")


def test_a_run_that_fails_is_logged_by_the_host_and_not_by_onnxruntime(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    feed = {"x": np.zeros(4, np.float32), "to": np.array([3, 5])}
    with (
        holding(graphs.reshape()).to_call() as engine,
        pytest.raises(Exception, match="cannot be reshaped"),
    ):
        engine.session.session.run(None, feed)
    assert "cannot be reshaped" in caplog.text and capfd.readouterr() == ("", "")


def test_a_run_that_is_cancelled_is_logged_by_nobody(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def soon(stop: Callable[[], None]) -> Iterator[None]:
        timer = threading.Timer(0.2, stop)
        timer.start()
        yield
        timer.join()

    monkeypatch.setattr(lending, "on_cancel", soon)
    feed = {"limit": np.array(10**9), "x": np.zeros(1, np.float32)}
    with (
        pytest.raises(RuntimeError, match="cancelled while reading"),
        holding(graphs.counting()).to_call() as engine,
        pytest.raises(Exception, match="terminate flag"),
    ):
        engine.session.session.run(None, feed)
    assert not caplog.text and capfd.readouterr() == ("", "")


def test_a_call_that_is_alone_has_all_threads_and_those_beside_it_one_each() -> None:
    made: list[int] = []
    engine = lent(4, made)
    with engine.to_call() as alone:
        assert alone.threads == 4 and made == [4]
        with engine.to_call() as second, engine.to_call() as third:
            assert second is third and second.threads == 1
    with engine.to_call() as again:
        assert again is alone
    assert made == [4, 1]


def test_where_a_second_one_can_t_be_made_the_first_serves_all(caplog: pytest.LogCaptureFixture) -> None:
    def make(count: int) -> Engine:
        if count == 1:
            raise MemoryError("none left")
        return Engine(count)

    engine = Lent(make, 2, lambda engine, options: engine, "reading")
    for _ in range(2):
        with engine.to_call() as alone, engine.to_call() as beside:
            assert beside is alone
    assert len(caplog.records) == 1 and "none left" in caplog.text


def test_with_one_thread_there_is_one_for_all() -> None:
    made: list[int] = []
    engine = lent(1, made)
    with engine.to_call() as first, engine.to_call() as second:
        assert first is second
    assert made == [1]


def test_one_that_can_t_be_copied_serves_one_call_at_a_time() -> None:
    engine = lent(2, [], copyable=False)
    order: list[str] = []

    def second() -> None:
        with engine.to_call() as found:
            order.append(f"second, {found.threads}")

    with engine.to_call() as found:
        thread = threading.Thread(target=second)
        thread.start()
        order.append(f"first, {found.threads}")
    thread.join()
    assert order == ["first, 2", "second, 2"]


def test_one_that_is_closed_says_so_to_whoever_comes_and_is_not_made_again() -> None:
    made: list[int] = []
    engine = lent(2, made)
    with engine.to_call():
        engine.close()
        with pytest.raises(RuntimeError, match="closed"), engine.to_call():
            pass
    with pytest.raises(RuntimeError, match="closed"), engine.to_call():
        pass
    assert made == [2]


def test_a_number_of_threads_that_can_t_be_is_refused() -> None:
    with pytest.raises(BadArgument, match="threads is 0"):
        lent(0, [])


def test_threads_of_rapidocr_s_sessions_sleep_while_they_wait() -> None:
    from omegaconf import OmegaConf
    from rapidocr.inference_engine.onnxruntime.main import OrtInferSession

    config: Any = OmegaConf.create({"enable_cpu_mem_arena": False, "intra_op_num_threads": 2})
    with patient():
        options = OrtInferSession._init_sess_opts(config)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == 2
    with pytest.raises(RuntimeError):  # there is no such entry
        OrtInferSession._init_sess_opts(config).get_session_config_entry("session.intra_op.allow_spinning")
