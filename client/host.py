"""`connect()` and what it gives: the host, and its models as light objects that can be pickled.

A `Model` is an address and a name. It works in any process of the host: after a fork, in a spawned
worker, in a pool; each process makes its own session at the first call.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final

from sharedmodel.errors import BadArgument, HostLost
from sharedmodel.session import CONTROL, Session
from sharedmodel.sessions import SESSIONS
from sharedmodel.tensor import Array

from .find import find
from .instances import Instances
from .replay import Replay

DIRECTORY: Final = "#models"
Where = str | Instances
QUESTIONS: Final = 10  # times that a question is asked again when a host died over it


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
    SESSIONS.current(found, timeout)
    return Host(found)


class Host:
    """A host. All its methods may be called from any thread, in this process and in forked ones."""

    def __init__(self, address: str) -> None:
        self.address = address

    def model(self, name: str, *, timeout: float | None = None, **spec: Any) -> Model:
        """A model by its name; waits until it is loaded.

        ``timeout`` is the deadline of each of its calls, in seconds. ``spec`` (``kind="onnx",
        path=...``) loads it first, where the host allows that: an embedded one does.
        """
        if spec:
            self._ask(DIRECTORY, "load", name, spec)
        info = self._ask(DIRECTORY, "describe", name)
        if (where := info.get("elsewhere")) is None:
            return Model(self.address, name, info, timeout)
        instances = Instances(**where)
        for address in instances.addresses:
            SESSIONS.follow(address, self.address)
        return Model(instances, name, asked(instances, DIRECTORY, "describe", name), timeout)

    def models(self) -> dict[str, Any]:
        """The models that the host serves and the state of each."""
        states: dict[str, Any] = self._ask(DIRECTORY, "states")
        return states

    def status(self) -> dict[str, Any]:
        """The host in numbers; memory in bytes."""
        status: dict[str, Any] = self._ask(CONTROL, "status")
        return status

    def empty(self, shape: Any, dtype: Any = float, order: Any = "C") -> Array:
        """An uninitialised array in shared memory: given as an argument, it is not copied."""
        return empty(self._session(), shape, dtype, order)

    def close(self) -> None:
        """End this process's session with the host. Idempotent; a later call opens a new one."""
        SESSIONS.close(self.address)

    def _session(self) -> Session:
        return SESSIONS.current(self.address)

    def _ask(self, ident: Any, method: str, *args: Any) -> Any:
        return asked(self.address, ident, method, *args)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Host at {self.address}>"


class Model:
    """A model in the host; what it exposes are methods here. Pickles by reference."""

    def __init__(self, where: Where, name: str, info: dict[str, Any], timeout: float | None = None) -> None:
        self._where = where
        self._name = name
        self._info = info
        self._timeout = timeout

    def with_timeout(self, seconds: float | None) -> Model:
        """The same model with another deadline for its calls."""
        return Model(self._where, self._name, self._info, seconds)

    def empty(self, shape: Any, dtype: Any = float, order: Any = "C") -> Array:
        """An uninitialised array in shared memory: given as an argument, it is not copied.

        Of a model with several instances it is one of them, with which it shares the memory.
        """
        return empty(SESSIONS.current(address_of(self._where)), shape, dtype, order)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("__"):
            raise AttributeError(method)
        if method not in self._info["exposed"]:
            raise AttributeError(not_exposed(self._name, method, self._info))
        bound = _Method(self, method)
        self.__dict__[method] = bound
        return bound

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = with_files_read(self._info, method, args, kwargs)
        replay = Replay(f"{self._name}.{method}()", method in self._info["idempotent"])
        return replayed(
            self._where, lambda session, left: session.call(self._name, method, args, kwargs, left),
            replay, self._timeout,
        )  # fmt: skip

    def __reduce__(self) -> Any:
        return Model, (self._where, self._name, self._info, self._timeout)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._info["exposed"]})

    def __repr__(self) -> str:
        return f"<Model {self._name!r} at {address_of(self._where)}>"


class _Method:
    """A method of a model."""

    __slots__ = ("_model", "_name")

    def __init__(self, model: Model, name: str) -> None:
        self._model = model
        self._name = name

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._model._call(self._name, args, kwargs)

    def __repr__(self) -> str:
        return f"<method {self._name} of {self._model!r}>"


def address_of(where: Where) -> str:
    """Where to call now."""
    return where if isinstance(where, str) else where.pick()


def addresses_of(where: Where) -> list[str]:
    """All that serve a model."""
    return [where] if isinstance(where, str) else where.addresses


def directory_of(where: Where) -> str:
    """Where the server's directory is asked for a model's fate."""
    return where if isinstance(where, str) else where.directory


def asked(where: Where, ident: Any, method: str, *args: Any, timeout: float | None = None) -> Any:
    """A question to a server, which may be asked again."""
    end = None if timeout is None else time.monotonic() + timeout
    for left in range(QUESTIONS, -1, -1):
        session = SESSIONS.current(address_of(where), _left(end))
        try:
            return session.call(ident, method, args, {}, _left(end))
        except HostLost:
            if not left:
                raise
    raise AssertionError("unreachable")


def replayed(
    where: Where, call: Callable[[Session, float | None], Any], replay: Replay, timeout: float | None = None
) -> Any:
    """A call, sent again where its host died and `Replay` allows it.

    ``call`` gets the session and the seconds that are left of ``timeout``, which is for all of it.
    """
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        session = SESSIONS.current(replay.quarantine or address_of(where), _left(end))
        try:
            return call(session, _left(end))
        except HostLost as exc:
            question = replay.lost(exc, session.welcome)
        if question is not None:
            replay.told(asked(directory_of(where), DIRECTORY, "verdict", *question, timeout=_left(end)))
            if replay.quarantine is not None:
                SESSIONS.follow(replay.quarantine, directory_of(where))


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())


def empty(session: Session, shape: Any, dtype: Any, order: Any) -> Array:
    """An array in shared memory, or a plain one where there is none to be had."""
    import numpy as np

    array = session.empty(shape, dtype, order)
    return np.empty(shape, dtype, order) if array is None else array


def not_exposed(name: str, method: str, info: dict[str, Any]) -> str:
    return f"model {name!r} has no method {method!r}; it has: {', '.join(info['exposed'])}"


def with_files_read(
    info: dict[str, Any], method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with files read here, with the caller's rights, where a method takes files.

    Raises what opening the file raises.
    """
    places = info.get("files", {}).get(method)
    if not places:
        return args, kwargs
    read = tuple(read_file(arg) if index in places else arg for index, arg in enumerate(args))
    return read, {key: read_file(arg) if key in places else arg for key, arg in kwargs.items()}


def read_file(value: Any) -> Any:
    """The bytes of a file that is named (a str or path, or a list of them); anything else as it is."""
    if isinstance(value, list | tuple):
        return [read_file(item) for item in value]
    if not isinstance(value, str | os.PathLike):
        return value
    try:
        with open(value, "rb") as file:
            return file.read()
    except IsADirectoryError as exc:
        raise BadArgument(f"{os.fspath(value)!r} is a folder, not a file") from exc
