"""`connect()` and what it gives: the host, and its models as light objects that can be pickled.

A `Model` is an address and a name. It works in any process of the host: after a fork, in a spawned
worker, in a pool; each process makes its own session at the first call.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from sharedmodel import deadlines
from sharedmodel.errors import BadArgument, HostLost, HostUnavailable, SharedModelError, UnknownObject
from sharedmodel.handle import LEASE, Handle
from sharedmodel.pending import PRIORITY_MOST
from sharedmodel.session import CONTROL
from sharedmodel.sessions import SESSIONS
from sharedmodel.tensor import Array

from .again import DIRECTORY, Where, address_of, again, asked, empty, reach, replayed
from .files import with_files_read
from .find import find
from .placing import moved, placed
from .replay import Question, Replay


def connect(
    address: str | os.PathLike[str] | None = None,
    *,
    start: bool | None = None,
    timeout: float | None = None,
    authkey: bytes | None = None,
    shared_memory: bool = True,
) -> Host:
    """Connect to the host: the one at ``address``, else the user's, else an embedded one.

    ``start=False`` never starts one; ``timeout`` (seconds) bounds connecting. ``shared_memory=False``
    sends arrays through the socket. Raises HostUnavailable, NotPermitted or AuthenticationError.
    """
    found = find(address, start, timeout)
    options = {} if shared_memory else {"shared_memory": False}
    SESSIONS.remember(found, authkey, **options)
    reach(found, timeout)
    return Host(found)


class Host:
    """A host. All its methods may be called from any thread, in this process and in forked ones."""

    def __init__(self, address: str) -> None:
        self.address = address

    def model(
        self,
        name: str,
        *,
        version: str | None = None,
        timeout: float | None = None,
        within: float | None = None,
        **spec: Any,
    ) -> Model:
        """A model by its name; waits until it is loaded, and logs how far it is where that takes long.

        ``version`` of a model that has several; else it is the default one, also when that changes later.
        ``timeout`` is the deadline of each of its calls, in seconds. ``within`` so many seconds it has to be
        loaded, else DeadlineExceeded says how far it is. ``spec`` (``kind="onnx", path=...``) loads it first,
        where the host allows that: an embedded one does.
        """
        name, end = versioned(name, version), deadlines.after(within)
        if spec:
            self._ask(DIRECTORY, "load", name, spec, timeout=within)
        where, info = placed(self.address, name, end)
        return Model(where, name, info, timeout)

    def models(self) -> dict[str, Any]:
        """The models that the host serves and the state of each: since when (epoch seconds), and why."""
        states: dict[str, Any] = self._ask(DIRECTORY, "states")
        return states

    def load(
        self, name: str, *, version: str | None = None, default: bool = False, timeout: float | None = None
    ) -> dict[str, Any]:
        """Load a model of the host's configuration unless it is loaded; its state.

        ``default`` makes the version the model's default, for calls that begin from then on. Raises LoadFailed,
        BadArgument for a model that there is not, NotPermitted for another user than the server's,
        DeadlineExceeded after ``timeout`` seconds. So do the three below.
        """
        return self._manage("load", versioned(name, version), None, default, timeout=timeout)

    def unload(self, name: str, *, version: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Let a model go, when the calls that run in it have ended; its next call loads it again. Its state."""
        return self._manage("unload", versioned(name, version), timeout=timeout)

    def reload(self, name: str, *, version: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Load a model anew beside the one that serves, and swap: no call fails. Its state.

        Raises LoadFailed where the new one can't be loaded; then the old one goes on.
        """
        return self._manage("reload", versioned(name, version), timeout=timeout)

    def warmup(self, name: str, *, version: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Make a model's warm-up calls and its canary now; its state.

        Raises LoadFailed where the canary fails; then the model is being loaded again.
        """
        return self._manage("warmup", versioned(name, version), timeout=timeout)

    def status(self) -> dict[str, Any]:
        """The host in numbers; memory in bytes."""
        status: dict[str, Any] = self._ask(CONTROL, "status")
        return status

    def empty(self, shape: Any, dtype: Any = float, order: Any = "C") -> Array:
        """An uninitialised array in shared memory: given as an argument, it is not copied."""
        return empty(self.address, shape, dtype, order)

    def put(self, array: Array, lease: float = LEASE) -> Handle:
        """Have the host keep a copy of an array; a small handle of it, which any process of the machine can open.

        It is kept while a process holds it, and for ``lease`` seconds from now and from each pickling of the
        handle. Raises TypeError for what is no array, BadArgument for a lease that can't be, Overloaded where
        the host keeps too much already.
        """
        return again(lambda: Handle.put(reach(self.address), array, lease))

    def close(self) -> None:
        """End this process's session with the host. Idempotent; a later call opens a new one."""
        SESSIONS.close(self.address)

    def _manage(self, method: str, name: str, *args: Any, timeout: float | None) -> dict[str, Any]:
        """Ask where the model is: of several instances each in turn; the state of the last one."""
        end = deadlines.after(timeout)
        state: dict[str, Any] = self._ask(DIRECTORY, method, name, *args, timeout=timeout)
        for address in state.get("elsewhere", {}).get("addresses", ()):
            SESSIONS.follow(address, self.address)
            state = asked(address, DIRECTORY, method, name, *args, timeout=deadlines.left(end))
        return state

    def _ask(self, ident: Any, method: str, *args: Any, timeout: float | None = None) -> Any:
        return asked(self.address, ident, method, *args, timeout=timeout)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Host at {self.address}>"


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
        """The same model with another deadline for its calls."""
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
            return session.call(model._name, method, args, kwargs, timeout, model._priority)
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
                return replayed(
                    model._where, lambda session, left: session.call(ident, method, args, kwargs, left, priority),
                    replay, end, question,
                )  # fmt: skip
            except (HostUnavailable, UnknownObject) as exc:
                if not model._moves(exc, end):
                    raise
                question = None

    def _replay(self) -> Replay:
        model = self._model
        return Replay(f"{model._name}.{self._name}()", self._name in model._info["idempotent"])

    def __repr__(self) -> str:
        return f"<method {self._name} of {self._model!r}>"


def versioned(name: str, version: str | None) -> str:
    """A version's name on the wire."""
    return name if version is None else f"{name}@{version}"


def checked_priority(priority: int) -> int:
    if type(priority) is not int or abs(priority) > PRIORITY_MOST:
        raise BadArgument(f"a priority is a whole number from {-PRIORITY_MOST} to {PRIORITY_MOST}, not {priority!r}")
    return priority


def not_exposed(name: str, method: str, info: dict[str, Any]) -> str:
    return f"model {name!r} has no method {method!r}; it has: {', '.join(info['exposed'])}"
