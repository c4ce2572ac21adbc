"""Batches that do not fit are halved until they do; a row that never fits fails alone."""

from __future__ import annotations

import errno
import gc
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedmodel.errors import NotEnoughMemory
from sharedmodel.server.machine.batches import Failed, is_out_of_memory, split_and_retry


def made(module: str, name: str, base: type[Exception], text: str) -> Exception:
    """An exception as a library that is not imported here would raise it."""
    kind: type[Exception] = type(name, (base,), {"__module__": module})
    return kind(text)


ORT = "onnxruntime.capi.onnxruntime_pybind11_state"


@pytest.mark.parametrize(
    "exc",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        made(ORT, "RuntimeException", Exception, "bfc_arena.cc:360 Failed to allocate memory for requested buffer"),
        made(ORT, "Fail", Exception, "[ONNXRuntimeError] : 1 : FAIL : std::bad_alloc"),
        made("torch", "OutOfMemoryError", RuntimeError, "CUDA out of memory. Tried to allocate 2 GiB"),
        made("torch.cuda", "OutOfMemoryError", RuntimeError, ""),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
        made(
            ORT, "RuntimeException", Exception, "BFCArena: Available memory of 0 is smaller than requested bytes of 9"
        ),
        made(ORT, "Fail", Exception, "BFCArena::AllocateRawInternal: allocation failed"),
        made(ORT, "Fail", Exception, "CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; expr=cudaMalloc"),
        made(ORT, "Fail", Exception, "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0"),
        made(ORT, "Fail", Exception, "CUDNN failure 5003: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("CUDA failed with error out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=repr,
)
def test_a_lack_of_memory_is_known_by_what_it_is(exc: Exception) -> None:
    assert is_out_of_memory(exc)
    wrapped = ValueError("encoding failed")
    wrapped.__cause__ = exc
    assert is_out_of_memory(wrapped)


@pytest.mark.parametrize(
    "exc",
    [
        RuntimeError("shape mismatch"),
        ValueError("failed to allocate memory"),
        OSError(errno.ENOSPC, "No space left on device"),
        made(ORT, "InvalidArgument", Exception, "Got invalid dimensions"),
        made("shop", "OutOfMemoryError", Exception, "the shop has none"),
        NotEnoughMemory("model 'a' needs 2 GB, out of memory"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_other_failures_are_not_taken_for_it(exc: BaseException) -> None:
    assert not is_out_of_memory(exc)


def test_causes_that_go_round_in_a_circle_end() -> None:
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert not is_out_of_memory(first)


def test_numpys_own_is_one() -> None:
    with pytest.raises(MemoryError) as raised:
        np.ones(1 << 48)
    assert is_out_of_memory(raised.value)


def test_onnxruntimes_own_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from onnx import helper

    node = helper.make_node("Expand", ["x", "shape"], ["y"])
    kinds = {"x": onnx.TensorProto.FLOAT, "shape": onnx.TensorProto.INT64}
    inputs = [helper.make_tensor_value_info(name, kind, [1]) for name, kind in kinds.items()]
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "expand", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match="allocate") as raised:
        session.run(None, {"x": np.ones(1, "f4"), "shape": np.array([1 << 48])})
    assert is_out_of_memory(raised.value)


class Fitting:
    """Runs batches of at most ``most`` bytes in all; counts."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.runs = 0

    def __call__(self, rows: Sequence[int]) -> list[int]:
        self.runs += 1
        if sum(rows) > self.most:
            raise MemoryError(f"{sum(rows)} bytes")
        return [row * 2 for row in rows]


@given(st.lists(st.integers(1, 20), max_size=40), st.integers(1, 60))
def test_every_row_gets_its_result_or_fails_alone_in_order(rows: list[int], most: int) -> None:
    run = Fitting(most)
    results = split_and_retry(rows, run)
    assert len(results) == len(rows) and run.runs < max(1, 2 * len(rows))
    for row, result in zip(rows, results, strict=True):
        if row <= most:
            assert result == row * 2
        else:
            assert isinstance(result, Failed) and str(result.error) == f"{row} bytes"


def test_a_batch_that_fits_is_run_once() -> None:
    run = Fitting(100)
    assert split_and_retry([1, 2, 3], run) == [2, 4, 6]
    assert run.runs == 1


def test_an_array_is_cut_into_views() -> None:
    rows = np.arange(6)
    sizes: list[int] = []

    def run(piece: Any) -> Any:
        assert np.shares_memory(piece, rows)
        sizes.append(len(piece))
        if len(piece) > 2:
            raise MemoryError
        return piece + 1

    assert split_and_retry(rows, run) == [1, 2, 3, 4, 5, 6]  # type: ignore[arg-type]
    assert sizes == [6, 3, 2, 1, 3, 2, 1]


def test_any_other_error_is_raised_and_ends_it() -> None:
    def run(rows: Sequence[int]) -> list[int]:
        raise ValueError("bad row")

    with pytest.raises(ValueError, match="bad row"):
        split_and_retry([1, 2], run)


def test_a_model_that_loses_rows_is_told_so() -> None:
    with pytest.raises(ValueError, match="a run of 3 rows gave 2 results"):
        split_and_retry([1, 2, 3], lambda rows: [1, 2])


def test_what_a_failed_run_held_is_free_before_the_next_try() -> None:
    held: list[weakref.ref[Any]] = []
    alive: list[bool] = []

    def run(rows: Sequence[int]) -> list[int]:
        workspace = np.ones(1000)
        held.append(weakref.ref(workspace))
        if len(rows) > 1:
            raise MemoryError
        return list(rows)

    gc.disable()
    try:
        split_and_retry([1, 2, 3], run, between=lambda: alive.extend(ref() is not None for ref in held))
    finally:
        gc.enable()
    assert alive and not any(alive)
