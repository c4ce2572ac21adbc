"""Batches that did not fit into memory: knowing such a failure, and trying again with less."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

Row = TypeVar("Row")
Result = TypeVar("Result")

# Of exceptions that have no class of their own for it, in lower case: onnxruntime, on a CPU and where an arena on a
# GPU is at its limit; PyTorch on a CPU; CUDA's libraries, of either version's words; CTranslate2.
_TOLD: Final = (
    "failed to allocate memory",
    "bfc_arena",
    "bfcarena",
    "is smaller than requested bytes",
    "can't allocate memory",
    "out of memory",
    "std::bad_alloc",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "device_allocation_failed",
)
_LIBRARIES: Final = ("onnxruntime", "torch", "ctranslate2", "cupy")
_DEEP: Final = 8


@dataclass(frozen=True)
class Failed:
    """In a result's place: the row did not fit even alone. The error is kept without its traceback."""

    error: Exception


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether an exception, or one that it was raised from, says that memory ran out. Imports no library."""
    seen: BaseException | None = exc
    for _ in range(_DEEP):
        if seen is None:
            return False
        if _says_so(seen):
            return True
        seen = seen.__cause__
    return False


def split_and_retry(
    rows: Sequence[Row],
    run: Callable[[Sequence[Row]], Sequence[Result]],
    is_oom: Callable[[BaseException], bool] = is_out_of_memory,
    *,
    between: Callable[[], object] = lambda: None,
) -> list[Result | Failed]:
    """Run a batch; where memory runs out, its halves, and theirs, down to single rows.

    Gives one result for each row, in their order; `Failed` for a row that fails by itself. ``rows`` is
    anything that can be sliced, ``run`` gives as many results as it was given rows. ``between`` is called
    before each new try (to shrink an arena, to release a cache). Any other exception is raised.

    Fewer than twice as many runs as there are rows.
    """
    results: list[Result | Failed] = []
    waiting = [rows] if len(rows) else []
    while waiting:
        piece = waiting.pop()
        found, error = _tried(piece, run, is_oom)
        if found is not None:
            results.extend(found)
            continue
        # Here, not where it was caught: the exception's frames held all that the failed run had allocated.
        between()
        if len(piece) == 1:
            assert error is not None
            results.append(Failed(error))
        else:
            half = (len(piece) + 1) // 2
            waiting += [piece[half:], piece[:half]]
    return results


def _tried(
    piece: Sequence[Row], run: Callable[[Sequence[Row]], Sequence[Result]], is_oom: Callable[[BaseException], bool]
) -> tuple[Sequence[Result] | None, Exception | None]:
    try:
        found = run(piece)
    except Exception as exc:
        if not is_oom(exc):
            raise
        return None, _bare(exc)
    if len(found) != len(piece):
        raise ValueError(f"a run of {len(piece)} rows gave {len(found)} results")
    return found, None


def _bare(exc: Exception) -> Exception:
    exc.__cause__ = exc.__context__ = None
    return exc.with_traceback(None)


def _says_so(exc: BaseException) -> bool:
    if isinstance(exc, MemoryError):
        return True
    if isinstance(exc, OSError):
        return exc.errno == errno.ENOMEM
    kinds = [kind for kind in type(exc).__mro__ if kind.__module__.partition(".")[0] in _LIBRARIES]
    if any(kind.__name__ == "OutOfMemoryError" for kind in kinds):
        return True
    if not kinds and not isinstance(exc, RuntimeError):
        return False
    text = str(exc).lower()
    return any(words in text for words in _TOLD)
