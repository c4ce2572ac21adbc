"""The small calls that tell whether a model is fit to serve, and what to make of their results.

A model is ready when each has been answered. Later, on a slow beat, each is made again:

    it raises, or is not what is expected         the model is sick
    its result has the bits of the first time     well
    other bits, which it never had twice over     once more: the same other bits again? then sick;
                                                  others still? then it is never the same twice, and
                                                  nothing is to be had from comparing

Nothing of a result is kept but a hash of its bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from types import GeneratorType, MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np

from sharedmodel.errors import LoadFailed
from sharedmodel.failure import headline

ABOUT: Final = 1e-5  # by how much a number may differ from what is expected, of its size

WELL: Final = "well"
AGAIN: Final = "again"
CHANGED: Final = "changed"


class CanaryFailed(LoadFailed):
    """The model was asked something that it has to know, and did not; the message says what."""


class Probe(NamedTuple):
    """A call to make. ``expect`` None: whatever it gives. Text that begins with @ names a file: see `read`.

    ``tentative``: made up from what little is known of the model, so that its failure proves nothing.
    """

    method: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})
    expect: Any = None
    tentative: bool = False


class Canary:
    """One probe of one loaded object. ``exact``: whether its result shall have the same bits each time."""

    def __init__(self, probe: Probe, what: str = "canary", *, exact: bool = True) -> None:
        self.probe = probe
        self._what = what
        self._exact = exact
        self._steady = Steady()

    def sing(self, obj: Any) -> None:
        """Make the call. Raises CanaryFailed."""
        result = self._ask(obj)
        seen = fingerprint(result) if self._exact else None
        verdict = self._steady.judge(seen)
        if verdict == AGAIN:
            verdict = self._steady.settle(seen, fingerprint(self._ask(obj)))
        if verdict == CHANGED:
            raise CanaryFailed(f"its {self._what} {self.probe.method}() gave another result than when it was loaded")

    def _ask(self, obj: Any) -> Any:
        probe = self.probe
        call = f"its {self._what} {probe.method}()"
        try:
            result = getattr(obj, probe.method)(*read(probe.args), **read(probe.kwargs))
            if type(result) is GeneratorType:
                result = list(result)
        except Exception as exc:
            raise CanaryFailed(f"{call} raised {headline(exc)}") from exc
        if probe.expect is not None and not matches(result, probe.expect):
            raise CanaryFailed(f"{call} gave {_short(result)}, where {_short(probe.expect)} is expected")
        return result


class Steady:
    """Whether results are what they were, by their hashes. None: not to be compared."""

    def __init__(self) -> None:
        self._first: bytes | None = None
        self._twice = False  # it has had these bits more than once: then it always should
        self._varies = False

    def judge(self, seen: bytes | None) -> str:
        if seen is None or self._varies:
            return WELL
        if self._first is None:
            self._first = seen
            return WELL
        if seen == self._first:
            self._twice = True
            return WELL
        return CHANGED if self._twice else AGAIN

    def settle(self, one: bytes | None, two: bytes | None) -> str:
        """After AGAIN: that result's hash, and the hash of one more."""
        if one == two:
            return CHANGED
        self._varies = True
        return WELL


def read(value: Any) -> Any:
    """The argument that is meant: ``@x.npy`` the array in that file, ``@page.png`` the file's bytes."""
    if isinstance(value, str) and value.startswith("@"):
        path = value[1:]
        return np.load(path, allow_pickle=False) if path.endswith(".npy") else Path(path).read_bytes()
    if isinstance(value, Mapping):
        return {key: read(item) for key, item in value.items()}
    return [read(item) for item in value] if isinstance(value, list | tuple) else value


def fingerprint(value: Any) -> bytes | None:
    """A hash of every bit of a value; None where there is something in it whose bits are not known."""
    digest = blake2b(digest_size=16)
    return digest.digest() if _feed(digest, value) else None


def _feed(digest: Any, value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        digest.update(f"array {value.dtype.str} {value.shape}".encode())
        # As numbers of a byte, because a buffer can't be had of dates.
        digest.update(np.ascontiguousarray(value).reshape(-1).view("u1") if value.nbytes else b"")
        return True
    if isinstance(value, np.ndarray | np.generic):
        return _feed(digest, np.asarray(value).tolist())
    if isinstance(value, Mapping):  # in its own order: that is a part of the result
        digest.update(f"mapping {len(value)}".encode())
        return all(_feed(digest, key) and _feed(digest, item) for key, item in value.items())
    if isinstance(value, list | tuple):
        digest.update(f"{type(value).__name__} {len(value)}".encode())
        return all(_feed(digest, item) for item in value)
    if isinstance(value, str | bytes | int | float | bool | None):
        text = repr(value).encode()
        digest.update(f"{type(value).__name__} {len(text)} ".encode() + text)
        return True
    return False


def matches(value: Any, expected: Any) -> bool:
    """Whether a result is the expected one, numbers to a relative 1e-5."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(expected, Mapping):
        same = isinstance(value, Mapping) and value.keys() == expected.keys()
        return same and all(matches(value[key], expected[key]) for key in expected)
    if isinstance(expected, Sequence) and not isinstance(expected, str | bytes):
        same = isinstance(value, list | tuple) and len(value) == len(expected)
        return same and all(map(matches, value, expected))
    if isinstance(expected, float) and isinstance(value, int | float):
        return math.isclose(value, expected, rel_tol=ABOUT, abs_tol=1e-8)
    return bool(value == expected)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
