"""One call at the host: what is asked, by whom, and whether anybody still waits for it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from . import failure, reply
from .errors import Cancelled, DeadlineExceeded, Overloaded, SharedModelError
from .kept import Input
from .pending import PRIORITY_MOST
from .tensor import Array
from .tracing import LENGTH as TRACE_LENGTH

if TYPE_CHECKING:
    from .objects import Served
    from .peer import Peer

logger = logging.getLogger("sharedmodel")

_NOTHING: Final[Any] = ()
_END: Final = object()
NEVER: Final = float("inf")
WINDOW: Final = 16  # items of a stream that may be on their way
STREAMS: Final = 512  # of one session; each has a thread until it has been read


class Call:
    """A call from its frame to its answer.

    Its times are those of `time.monotonic`: ``taken`` from its frame, ``began`` to execute (set by who watches
    it, 0 where it never did) and ``made`` its result (`NEVER` where there is none). ``joined``, where it ran in a
    batch: when the inputs of all became one, and of how many calls. ``outcome`` is the code of its error, else "".
    ``trace`` is the traceparent of its caller's span (see `tracing`), where it has one. ``withdraw`` takes it out of
    the queue that it waits in.
    """

    # Class attributes, because a call sets few of these and making one must be cheap.
    priority = 0
    trace: str | None = None
    deadline: float | None = None
    began = 0.0
    made = NEVER
    joined: tuple[float, int] | None = None
    outcome = ""
    cancelled = False
    condemned: Exception | None = None
    callbacks: list[Callable[[], None]] | None = None
    withdraw: Callable[[], None] | None = None
    credit: threading.Semaphore | None = None

    def __init__(self, peer: Peer, message: list[Any], inputs: list[Input], problem: Exception | None) -> None:
        """Raises ValueError or TypeError for a malformed CALL frame."""
        _, rid, ident, method, args, kwargs, timeout, _, *more = message
        if type(rid) is not int or rid >> 63 or type(method) is not str:
            raise TypeError("request number and method")
        if type(ident) is not str and (type(ident) is not int or ident != 0):
            raise TypeError("object")  # an array here could not even be compared, nor an int of 5000 digits shown
        if type(args) is not list or type(kwargs) is not dict:
            raise TypeError("arguments")
        self.peer, self.rid, self.method, self.args, self.kwargs = peer, rid, method, args, kwargs
        self.ident: Any = ident
        self.inputs = inputs
        self.problem = problem
        self.taken = time.monotonic()
        if timeout is not None:
            deadline = self.taken + float(timeout)
            if deadline == deadline:  # what is no number would be neither before nor after any other
                self.deadline = deadline
        if more:
            self._take_in(*more)

    def _take_in(self, priority: int, *trace: str) -> None:
        """What only some frames have."""
        if type(priority) is not int or abs(priority) > PRIORITY_MOST:
            raise TypeError("priority")
        self.priority = priority
        if trace:
            (self.trace,) = trace
            if type(self.trace) is not str or len(self.trace) != TRACE_LENGTH:
                raise TypeError("trace")

    # -- running -------------------------------------------------------------------------------------

    def run(self, served: Served) -> None:
        """Call the method and answer. Never raises: what the method raises is the answer."""
        reply.current.call = self
        watch = served.watch
        token = None if watch is None else watch.entered(self)
        try:
            if self.cancelled or self.deadline is not None or self.problem is not None or self.peer.closed:
                self.check()
            method = served.method(self.method)
            args, kwargs = self.args, self.kwargs
            self.args = self.kwargs = _NOTHING  # only the method refers to its arguments from now on
            value = method(*args, **kwargs)
            del args, kwargs
            self.made = time.monotonic()
            if served.method_to_typeid and self.method in served.method_to_typeid:
                value = self.peer.refs.as_proxy(served.method_to_typeid[self.method], value)
            elif type(value) is types.GeneratorType:
                self.made = NEVER  # its items are still to be made
                self._stream(value, served)
                return
            data = self.peer.packed(self, value)
            del value  # it may be an argument, which nothing here must keep when it is asked what is kept
            self.peer.answer(self, data)
        except BaseException as exc:
            args = kwargs = value = _NOTHING  # noqa: F841  (or this frame would keep the caller's memory in use)
            self.fail(exc)
        finally:
            reply.current.call = None
            if watch is not None:
                watch.left(token)

    def _stream(self, items: types.GeneratorType[Any, Any, Any], served: Served) -> None:
        peer = self.peer
        with peer.lock:
            full = peer.streams >= STREAMS
            peer.streams += not full
        if full:
            items.close()
            raise Overloaded(f"{STREAMS} results of this session are being read item by item; read one of them first")
        # Bounded: with credit to spare a client that does not read would fill the host's memory.
        self.credit = threading.BoundedSemaphore(WINDOW)
        # It waits for its reader, but not for those that wait for theirs.
        peer.patiently(lambda: self._pump(items, served))

    def check(self) -> None:
        """Raise if nobody waits for this call any more, or it could not be taken in."""
        if (problem := self._problem()) is not None:
            self.began = 0.0
            raise problem

    def _problem(self) -> Exception | None:
        if self.problem is not None:
            return self.problem if isinstance(self.problem, SharedModelError) else TypeError(str(self.problem))
        if self.cancelled or self.peer.closed:  # the second: it was taken in as its session ended
            return Cancelled("the call was cancelled before it ran")
        if self.deadline is not None and time.monotonic() > self.deadline:
            return DeadlineExceeded("the call's deadline passed before it ran")
        return None

    def fail(self, exc: BaseException) -> None:
        """Answer with an exception; nothing of it stays here."""
        self.args = self.kwargs = _NOTHING
        error = exc if self.condemned is None else self.condemned
        self.made = NEVER
        self.outcome = failure.code_of(error)
        self.peer.fail(self, error)

    def _pump(self, stream: types.GeneratorType[Any, Any, Any], served: Served) -> None:
        """Send a generator's items as fast as the caller takes them."""
        reply.current.call = self
        try:
            self.peer.begin_stream(self)
            with contextlib.closing(stream):
                while (item := self._next(stream, served)) is not _END:
                    if not self._may_send():
                        raise Cancelled("the stream was closed by its reader")
                    self.peer.item(self, item)
                    del item
            del stream
            self.peer.answer(self, self.peer.packed(self, None))
        except BaseException as exc:
            self.fail(exc)
        finally:
            reply.current.call = None
            with self.peer.lock:
                self.peer.streams -= 1

    def _next(self, stream: types.GeneratorType[Any, Any, Any], served: Served) -> Any:
        """Its next item, which is a run of its own to who watches; that of the whole began with the first."""
        watch, began = served.watch, self.began
        with served.gate or contextlib.nullcontext():
            token = None if watch is None else watch.entered(self)
            self.began = began
            try:
                return next(stream, _END)
            finally:
                if watch is not None:
                    watch.left(token)

    def _may_send(self) -> bool:
        assert self.credit is not None
        self.credit.acquire()
        return not self.cancelled

    # -- what the method may ask (see `reply`) ---------------------------------------------------------

    def empty(self, shape: Any, dtype: Any, order: Any) -> Array | None:
        return self.peer.room.empty(shape, dtype, order)

    def add_callback(self, callback: Callable[[], None]) -> None:
        with self.peer.lock:
            if not self.cancelled:
                self.callbacks = [*(self.callbacks or ()), callback]
                return
        callback()

    def remove_callback(self, callback: Callable[[], None]) -> None:
        with self.peer.lock:
            callbacks = self.callbacks
            if callbacks is not None and len(callbacks) == 1 and callbacks[0] is callback:
                self.callbacks = None
            else:
                self.callbacks = [other for other in callbacks or () if other is not callback]

    def waits(self, withdraw: Callable[[], None]) -> None:
        """It is in a queue, until `withdraw` is None again, and taken out of it by this if its caller gives up."""
        self.withdraw = withdraw  # before the look, and without the lock: at worst it is called twice
        if self.cancelled:
            withdraw()

    # -- its end ---------------------------------------------------------------------------------------

    def condemn(self, error: Exception) -> None:
        """Tell the method to stop, as if its caller had given up; should it fail now, it fails with ``error``."""
        self.condemned = error
        self.cancel()

    def cancel(self) -> None:
        """The caller gave up, or is dead. Idempotent."""
        with self.peer.lock:
            self.cancelled = True
            callbacks, self.callbacks = self.callbacks or [], None
        if (withdraw := self.withdraw) is not None:  # after the flag: see `waits`
            callbacks.append(withdraw)
        if self.credit is not None:
            with contextlib.suppress(ValueError):  # the window is open as it is
                self.credit.release()
        for callback in callbacks:
            try:
                callback()
            except Exception:
                logger.exception("a callback of on_cancel() failed")  # the others are owed their call all the same
