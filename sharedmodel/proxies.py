"""The proxies that ``multiprocessing.managers`` has for the standard library's own objects.

    DictProxy  ListProxy  ArrayProxy  ValueProxy  IteratorProxy      containers
    AcquirerProxy  ConditionProxy  EventProxy  BarrierProxy          of `threading`; see below

Calls of one caller are served by any thread of the host, so what belongs to a thread (an RLock, a
Condition over one) is refused by its own rules there; a Lock, a Semaphore and a Condition(Lock()) work.
"""

from __future__ import annotations

from collections.abc import Callable
from types import GenericAlias
from typing import Any, ClassVar

from . import deadlines
from .proxy import BaseProxy, MakeProxyType


class IteratorProxy(BaseProxy):
    """For iterators and generators."""

    _exposed_ = ("__next__", "send", "throw", "close")

    def __iter__(self) -> IteratorProxy:
        return self

    def __next__(self, *args: Any) -> Any:
        return self._callmethod("__next__", args)

    def send(self, *args: Any) -> Any:
        return self._callmethod("send", args)

    def throw(self, *args: Any) -> Any:
        return self._callmethod("throw", args)

    def close(self, *args: Any) -> Any:
        return self._callmethod("close", args)


class AcquirerProxy(BaseProxy):
    """For locks and semaphores."""

    _exposed_: tuple[str, ...] | None = ("acquire", "release")

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> Any:
        return self._callmethod("acquire", (blocking,) if timeout is None else (blocking, timeout))

    def release(self) -> Any:
        return self._callmethod("release")

    def __enter__(self) -> Any:
        return self._callmethod("acquire")

    def __exit__(self, *_: object) -> None:
        self._callmethod("release")


class ConditionProxy(AcquirerProxy):
    """For ``Condition(Lock())``."""

    _exposed_ = ("acquire", "release", "wait", "notify", "notify_all")

    def wait(self, timeout: float | None = None) -> Any:
        return self._callmethod("wait", (timeout,))

    def notify(self, n: int = 1) -> Any:
        return self._callmethod("notify", (n,))

    def notify_all(self) -> Any:
        return self._callmethod("notify_all")

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """The predicate is asked here, in the caller."""
        end = deadlines.after(timeout)
        while not (result := predicate()):
            left = deadlines.left(end)
            if left == 0:
                break
            self.wait(left)
        return result


class EventProxy(BaseProxy):
    """For events."""

    _exposed_ = ("is_set", "set", "clear", "wait")

    def is_set(self) -> Any:
        return self._callmethod("is_set")

    def set(self) -> Any:
        return self._callmethod("set")

    def clear(self) -> Any:
        return self._callmethod("clear")

    def wait(self, timeout: float | None = None) -> Any:
        return self._callmethod("wait", (timeout,))


class BarrierProxy(BaseProxy):
    """For barriers."""

    _exposed_ = ("__getattribute__", "wait", "abort", "reset")

    def wait(self, timeout: float | None = None) -> Any:
        return self._callmethod("wait", (timeout,))

    def abort(self) -> Any:
        return self._callmethod("abort")

    def reset(self) -> Any:
        return self._callmethod("reset")

    @property
    def parties(self) -> Any:
        return self._callmethod("__getattribute__", ("parties",))

    @property
    def n_waiting(self) -> Any:
        return self._callmethod("__getattribute__", ("n_waiting",))

    @property
    def broken(self) -> Any:
        return self._callmethod("__getattribute__", ("broken",))


class ValueProxy(BaseProxy):
    """For objects with ``get`` and ``set``."""

    _exposed_ = ("get", "set")

    def get(self) -> Any:
        return self._callmethod("get")

    def set(self, value: Any) -> Any:
        return self._callmethod("set", (value,))

    value = property(get, set)

    __class_getitem__: Any = classmethod(GenericAlias)


_LIST = (
    "__add__", "__contains__", "__delitem__", "__getitem__", "__len__", "__mul__", "__reversed__", "__rmul__",
    "__setitem__", "append", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort", "__imul__",
)  # fmt: skip
_DICT = (
    "__contains__", "__delitem__", "__getitem__", "__iter__", "__len__", "__setitem__", "clear", "copy", "get",
    "items", "keys", "pop", "popitem", "setdefault", "update", "values",
)  # fmt: skip

BaseListProxy: Any = MakeProxyType("BaseListProxy", _LIST)


class ListProxy(BaseListProxy):  # type: ignore[misc]
    """For lists."""

    def __iadd__(self, value: Any) -> ListProxy:
        self._callmethod("extend", (value,))
        return self

    def __imul__(self, value: Any) -> ListProxy:
        self._callmethod("__imul__", (value,))
        return self


class DictProxy(MakeProxyType("BaseDictProxy", _DICT)):  # type: ignore[misc]
    """For dicts."""

    _method_to_typeid_: ClassVar = {"__iter__": "Iterator"}


class ArrayProxy(MakeProxyType("BaseArrayProxy", ("__len__", "__getitem__", "__setitem__"))):  # type: ignore[misc]
    """For arrays of the standard library."""
