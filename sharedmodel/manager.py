"""`ModelManager`: a drop-in for ``multiprocessing.managers.BaseManager``.

    from sharedmodel.manager import ModelManager as BaseManager

What is better: messages are msgpack and never pickle, arrays move through shared memory and are not
copied, calls of many threads share one connection, a killed client's objects are released.

What remains different, each with its own clear error:

==========================================  ===========================================================
with ``BaseManager``                        here
==========================================  ===========================================================
instances of your classes go by value       TypeError that names the path to them; register the class
                                            and pass proxies, or pass its plain data
a lambda as callable, under ``spawn``       TypeError: it can't be sent to the new process; use a function
                                            of a module (under ``fork`` lambdas work)
``address=("host", port)``                  ValueError: one host only; give a path
``serializer="pickle"``, ``"xmlrpclib"``    ignored: there is one wire
arrays as arguments are private copies      read-only views; copy what you keep and change
calls of one thread are served by one       by any thread of the host: an RLock taken in one call can't be
                                            released in the next (RuntimeError, its own); use a Lock
``RemoteError`` with a traceback as text    the exception itself, its remote traceback as ``__cause__``; an
                                            initializer that fails too (there: ``EOFError``)
``start()`` at import or without a main     RuntimeError that names the line to move
guard under ``spawn``
==========================================  ===========================================================
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable, Sequence
from multiprocessing import AuthenticationError, ProcessError, connection, context, process
from typing import Any, ClassVar, Final

from . import link
from .crossing import proxy_bytes
from .culprit import explain_call
from .errors import BadArgument, CannotCross, HostUnavailable, RemoteError
from .namespace import Namespace, NamespaceProxy
from .objects import Registration
from .proxies import (
    AcquirerProxy,
    ArrayProxy,
    BarrierProxy,
    BaseListProxy,
    ConditionProxy,
    DictProxy,
    EventProxy,
    IteratorProxy,
    ListProxy,
    ValueProxy,
)
from .proxy import (
    SERIALIZER,
    AutoProxy,
    BaseProxy,
    MakeProxyType,
    Token,
    granted,
)
from .serving import Server, serve_in_child
from .sessions import SESSIONS
from .starting import await_address, end_process, launch, must_not_be_importing

__all__ = [
    "AcquirerProxy",
    "ArrayProxy",
    "AuthenticationError",
    "AutoProxy",
    "BarrierProxy",
    "BaseListProxy",
    "BaseManager",
    "BaseProxy",
    "ConditionProxy",
    "DictProxy",
    "EventProxy",
    "IteratorProxy",
    "ListProxy",
    "MakeProxyType",
    "ModelManager",
    "Namespace",
    "NamespaceProxy",
    "ProcessError",
    "RemoteError",
    "Server",
    "Token",
    "ValueProxy",
]

INITIAL, STARTED, SHUTDOWN = range(3)
_STATES: Final = {STARTED: "Already started server", SHUTDOWN: "Manager has shut down"}


class _NoSocket(HostUnavailable, FileNotFoundError):
    """Nobody listens at the address, and nobody ever has."""


class ModelManager:
    """A process that owns objects, and the proxies to them. Interface and behaviour of ``BaseManager``."""

    _registry: ClassVar[dict[str, Registration]] = {}
    _Server: ClassVar[type[Server]] = Server

    def __init__(
        self,
        address: Any = None,
        authkey: bytes | None = None,
        serializer: str = SERIALIZER,
        ctx: Any = None,
        *,
        shutdown_timeout: float = 1.0,
    ) -> None:
        """``authkey``: None lets in whom the kernel says is the same user; a key is asked for besides."""
        self._address: str | None = None if address in (None, "") else link.check_address(address)
        # Of a type that refuses to be pickled, except for a child that is being started.
        self._authkey = None if authkey is None else process.AuthenticationString(authkey)  # type: ignore[attr-defined]
        self._serializer = serializer
        self._ctx = ctx or context._default_context
        self._shutdown_timeout = shutdown_timeout
        self._state = INITIAL
        self._process: Any = None
        self._finalizer: Any = None

    # -- life ----------------------------------------------------------------------------------------

    def get_server(self) -> Server:
        """A server object for this process; ``serve_forever()`` runs it."""
        self._must_be(INITIAL)
        return self._Server(self._registry, self._address, self._authkey)

    def connect(self) -> None:
        """Connect to a server that runs already. Raises OSError when there is none."""
        if self._address is None:
            raise BadArgument("connect() needs the address of a server that is running: ModelManager(address=...)")
        try:
            SESSIONS.check(self._address, self._authkey)
        except HostUnavailable as exc:
            raise _NoSocket(*exc.args) if exc.errno == errno.ENOENT else exc from exc.__cause__
        SESSIONS.remember(self._address, self._authkey)
        self._state = STARTED

    def start(self, initializer: Callable[..., Any] | None = None, initargs: Sequence[Any] = ()) -> None:
        """Start a process that serves. Raises ProcessError or RuntimeError, with what to do, when it can't."""
        self._must_be(INITIAL)
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        must_not_be_importing()
        reader, writer = connection.Pipe(duplex=False)
        self._process = self._ctx.Process(
            target=type(self)._run_server,
            args=(self._registry, self._address, self._authkey, writer, initializer, tuple(initargs)),
        )
        self._process.name = type(self).__name__ + "-" + ":".join(str(i) for i in self._process._identity)
        launch(self._process, self._ctx)
        writer.close()
        self._address = await_address(self._process, reader)
        self._state = STARTED
        SESSIONS.remember(self._address, self._authkey)
        self._finalizer = weakref.finalize(
            self, end_process, self._process, self._address, self._shutdown_timeout, os.getpid()
        )

    @classmethod
    def _run_server(
        cls,
        registry: dict[str, Registration],
        address: str | None,
        authkey: bytes | None,
        writer: Any,
        initializer: Callable[..., Any] | None,
        initargs: tuple[Any, ...],
    ) -> None:
        serve_in_child(lambda: cls._Server(registry, address, authkey), writer, initializer, initargs)

    def shutdown(self) -> None:
        """End the manager's process. Idempotent."""
        if self._finalizer is not None:
            self._finalizer()
            self._state = SHUTDOWN
            self._let_process_go()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended (if it is ours)."""
        if self._process is not None:
            self._process.join(timeout)
            self._let_process_go()

    def _let_process_go(self) -> None:
        if self._process is not None and not self._process.is_alive():
            self._process.close()  # its descriptors go now, and not when the manager object does
            self._process = None

    def __enter__(self) -> ModelManager:
        if self._state == INITIAL:
            self.start()
        self._must_be(STARTED)
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def _must_be(self, state: int) -> None:
        if self._state != state:
            raise ProcessError(_STATES.get(self._state, "Manager not started"))

    # -- objects -------------------------------------------------------------------------------------

    @property
    def address(self) -> str | None:
        return self._address

    def _create(self, typeid: str, /, *args: Any, **kwds: Any) -> tuple[Token, tuple[str, ...]]:
        assert self._state == STARTED, "server not yet started"
        assert self._address is not None
        try:
            ident, exposed = SESSIONS.current(self._address).control("create", typeid, list(args), kwds)
        except CannotCross:
            raise explain_call(args, kwds, proxy_bytes) from None
        return Token(typeid, self._address, ident), exposed

    def _number_of_objects(self) -> int:
        """How many objects the server holds."""
        return int(self._ask("number_of_objects"))

    def _debug_info(self) -> str:
        """What the server holds, a line or two an object."""
        return str(self._ask("debug_info"))

    def _ask(self, method: str) -> Any:
        self._must_be(STARTED)
        assert self._address is not None
        return SESSIONS.current(self._address).control(method)

    @classmethod
    def register(
        cls,
        typeid: str,
        callable: Callable[..., Any] | None = None,
        proxytype: Any = None,
        exposed: Sequence[str] | None = None,
        method_to_typeid: dict[str, str] | None = None,
        create_method: bool = True,
    ) -> None:
        """Register a typeid with the manager type; arguments as for ``BaseManager.register``."""
        proxytype = proxytype or AutoProxy
        if isinstance(proxytype, type) and not issubclass(proxytype, BaseProxy):
            raise TypeError(
                f"proxytype {proxytype.__qualname__} must be a subclass of sharedmodel.manager.BaseProxy "
                "(import BaseProxy from sharedmodel.manager, not from multiprocessing.managers)"
            )
        for key, value in dict(method_to_typeid or {}).items():
            assert type(key) is str, f"{key!r} is not a string"
            assert type(value) is str, f"{value!r} is not a string"
        exposed = exposed or getattr(proxytype, "_exposed_", None)
        if "_registry" not in cls.__dict__:
            cls._registry = cls._registry.copy()
        method_to_typeid = method_to_typeid or getattr(proxytype, "_method_to_typeid_", None)
        names = None if exposed is None else tuple(exposed)
        cls._registry[typeid] = Registration(callable, names, method_to_typeid, proxytype)
        if create_method:
            setattr(cls, typeid, _creator(typeid, proxytype))


BaseManager = ModelManager


def _creator(typeid: str, proxytype: Any) -> Callable[..., Any]:
    def create(self: ModelManager, /, *args: Any, **kwds: Any) -> Any:
        token, exposed = self._create(typeid, *args, **kwds)
        return granted(proxytype, token, manager=self, authkey=self._authkey, exposed=exposed)

    create.__name__ = typeid
    return create
