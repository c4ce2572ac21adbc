"""A model of a host as a light object that can be pickled: an address and a name.

It works in any process of the machine: after a fork, in a spawned worker, in a pool; each process makes its own
session at the first call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sharedmodel import deadlines
from sharedmodel.errors import BadArgument, HostLost, HostUnavailable, SharedModelError, UnknownObject
from sharedmodel.pending import PRIORITY_MOST
from sharedmodel.session import Session
from sharedmodel.sessions import SESSIONS
from sharedmodel.stream import Stream
from sharedmodel.tensor import Array

from .again import Where, address_of, empty, replayed
from .files import with_files_read
from .placing import moved
from .replay import Question, Replay


class Model:
    """A model in the host; what it exposes are methods here. Pickles by reference."""

    def __init__(
        self, where: Where, name: str, info: dict[str, Any], timeout: float | None = None, priority: int = 0
    ) -> None:
        self._where = where
        self._name = name
        self._info = info
        self._timeout = timeout
        self._priority = priority

    def with_timeout(self, seconds: float | None) -> Model:
        """The same model with another deadline for its calls; None for none. Raises BadArgument."""
        seconds = deadlines.checked("timeout", seconds)
        return Model(self._where, self._name, self._info, seconds, self._priority)

    def with_priority(self, priority: int) -> Model:
        """The same model with another priority for its calls: from -2 to 2, 0 as a rule, higher is sooner.

        It counts where the model's configuration says ``priorities = true``. Raises BadArgument.
        """
        return Model(self._where, self._name, self._info, self._timeout, checked_priority(priority))

    def empty(self, shape: Any, dtype: Any = float, order: Any = "C") -> Array:
        """An uninitialised array in shared memory: given as an argument, it is not copied.

        Of a model with several instances it is one of them, with which it shares the memory.
        """
        try:
            return empty(self._where, shape, dtype, order)
        except HostUnavailable as exc:
            if not self._moves(exc, None):
                raise
        return empty(self._where, shape, dtype, order)

    def _moves(self, exc: SharedModelError, end: float | None) -> bool:
        """Go where the model is by now. False: it is where it was, or nowhere."""
        if (found := moved(self._where, self._name, exc, end)) is None:
            return False
        self._where, self._info = found
        return True

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("__"):
            raise AttributeError(method)
        if method not in self._info["exposed"]:
            raise AttributeError(not_exposed(self._name, method, self._info))
        bound = _Method(self, method)
        self.__dict__[method] = bound
        return bound

    def __reduce__(self) -> Any:
        return Model, (self._where, self._name, self._info, self._timeout, self._priority)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._info["exposed"]})

    def __repr__(self) -> str:
        return f"<Model {self._name!r} at {address_of(self._where)}>"


class _Method:
    """A method of a model."""

    __slots__ = ("_files", "_model", "_name")

    def __init__(self, model: Model, name: str) -> None:
        self._model = model
        self._name = name
        self._files = bool(model._info.get("files", {}).get(name))

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        model, method = self._model, self._name
        if self._files:
            args, kwargs = with_files_read(model._info, method, args, kwargs)
        where, timeout = model._where, model._timeout
        end = None if timeout is None else deadlines.after(timeout)
        # The first attempt is made here, past all that is for other cases: in a process whose caches a model has
        # emptied each function on the way costs ten times what it costs in a loop.
        session = SESSIONS.open.get(where) if type(where) is str else None
        if session is None or session.channel.lost is not None:
            return self._replayed(args, kwargs, end, self._replay())
        try:
            found = session.call(model._name, method, args, kwargs, timeout, model._priority)
            if type(found) is not Stream:
                return found
            return self._repeatable(found, args, kwargs, end, self._replay())
        except HostLost as exc:
            replay = self._replay()
            question = replay.lost(exc, session.welcome)
        except UnknownObject as exc:
            if not model._moves(exc, end):
                raise
            replay, question = self._replay(), None
        return self._replayed(args, kwargs, end, replay, question)

    def _replayed(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        end: float | None,
        replay: Replay,
        question: Question | None = None,
    ) -> Any:
        """The call with a session that is to be made; ``question`` is what is to be asked about a first attempt."""
        model, method = self._model, self._name
        ident, priority = model._name, model._priority
        while True:
            try:
                found = replayed(
                    model._where, lambda session, left: session.call(ident, method, args, kwargs, left, priority),
                    replay, end, question,
                )  # fmt: skip
                return self._repeatable(found, args, kwargs, end, replay) if type(found) is Stream else found
            except (HostUnavailable, UnknownObject) as exc:
                if not model._moves(exc, end):
                    raise
                question = None

    def _repeatable(
        self, stream: Stream, args: tuple[Any, ...], kwargs: dict[str, Any], end: float | None, replay: Replay
    ) -> Stream:
        if replay.idempotent:
            stream.begin_again = partial(self._begin_again, stream.session, args, kwargs, end, replay)
        return stream

    def _begin_again(
        self,
        session: Session,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        end: float | None,
        replay: Replay,
        exc: HostLost,
    ) -> Stream:
        found = self._replayed(args, kwargs, end, replay, replay.lost(exc, session.welcome))
        if not isinstance(found, Stream):
            raise exc  # the method is another one by now
        return found

    def _replay(self) -> Replay:
        model = self._model
        return Replay(f"{model._name}.{self._name}()", self._name in model._info["idempotent"])

    def __repr__(self) -> str:
        return f"<method {self._name} of {self._model!r}>"


def checked_priority(priority: int) -> int:
    if type(priority) is not int or abs(priority) > PRIORITY_MOST:
        raise BadArgument(f"a priority is a whole number from {-PRIORITY_MOST} to {PRIORITY_MOST}, not {priority!r}")
    return priority


def not_exposed(name: str, method: str, info: dict[str, Any]) -> str:
    return f"model {name!r} has no method {method!r}; it has: {', '.join(info['exposed'])}"
