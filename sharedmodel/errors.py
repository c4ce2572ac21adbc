"""Every way a call can fail, as one tree with stable wire codes.

Told apart by whose fault it is::

    SharedModelError
    ├── CannotCross        caller: a value that the wire does not carry      (TypeError)
    ├── BadArgument        caller: a name, method or option that is not there (ValueError)
    │   └── UnknownTypeid      the manager's server has not registered it    (RemoteError too)
    ├── NotPermitted       caller: not allowed in                            (PermissionError)
    │   └── NotExposed         there is no such method for callers           (RemoteError too)
    ├── Expired            caller: a handle whose array is no longer kept    (LookupError)
    ├── Overloaded         host: full; says when to try again
    ├── DeadlineExceeded   nobody: the caller's own time ran out             (TimeoutError)
    ├── Cancelled          caller: gave the call up
    ├── Stuck              model: ran past its max_run
    ├── WorkerLost         task: its worker process ended; says how          (RuntimeError)
    ├── Poisonous          caller: this call ends the host that runs it
    ├── LoadFailed         model: could not be loaded; says why
    │   └── NotEnoughMemory    host: no room for it; says how much there is
    ├── RemoteError        model: its own exception, of a type unknown here
    │   └── UnknownObject      dropped, or its host was restarted            (KeyError)
    ├── ProtocolError      peer: broke the wire's rules
    └── HostLost           host: gone, in mid-call or before it              (ConnectionError, EOFError)
        └── HostUnavailable    nobody listens at the address             (ConnectionRefusedError)

A model's own exception is not in this tree when its type is a builtin or already loaded in the
caller: then it is raised as that type, with the remote traceback as its ``__cause__``.
"""

from __future__ import annotations

__all__ = [
    "BadArgument",
    "Cancelled",
    "CannotCross",
    "DeadlineExceeded",
    "Expired",
    "HostLost",
    "HostUnavailable",
    "LoadFailed",
    "NotEnoughMemory",
    "NotExposed",
    "NotPermitted",
    "Overloaded",
    "Poisonous",
    "ProtocolError",
    "RemoteError",
    "RemoteTraceback",
    "SharedModelError",
    "Stuck",
    "UnknownObject",
    "UnknownTypeid",
    "WorkerLost",
    "by_code",
]


class SharedModelError(Exception):
    """Root of the tree. ``code`` is the stable name that crosses the wire."""

    code = "error"


class CannotCross(SharedModelError, TypeError):
    """A value of a type that does not cross; the message names the path to it."""

    code = "cannot-cross"


class BadArgument(SharedModelError, ValueError):
    """A model, method or option that does not exist; the message says what does."""

    code = "bad-argument"


class NotPermitted(SharedModelError, PermissionError):
    """The caller may not do this."""

    code = "not-permitted"


class Expired(SharedModelError, LookupError):
    """A handle was opened too late: nobody held its array any more, and its lease had passed."""

    code = "expired"


class Overloaded(SharedModelError):
    """The host refused the call because it is full. ``retry_after`` is in seconds."""

    code = "overloaded"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(SharedModelError, TimeoutError):
    """The caller's deadline passed before the result came."""

    code = "deadline"


class Cancelled(SharedModelError):
    """The call was given up by its caller."""

    code = "cancelled"


class Stuck(SharedModelError):
    """The model, or the task, ran past its own ``max_run`` and was ended."""

    code = "stuck"


class WorkerLost(SharedModelError, RuntimeError):
    """The worker process that ran a task ended, as often as the task may be tried; the message says how.

    ``exit_code`` is that of the last one, as in `subprocess`: a signal is negative.
    """

    code = "worker-lost"

    def __init__(self, message: str, exit_code: int = 0) -> None:
        super().__init__(message)
        self.args = (message, exit_code)
        self.exit_code = exit_code

    def __str__(self) -> str:
        return str(self.args[0])


class Poisonous(SharedModelError):
    """The call ended its host, and again the one in which it ran alone: it is not sent a third time."""

    code = "poisonous"


class LoadFailed(SharedModelError):
    """The model could not be loaded; the message says why.

    ``type_name`` and ``text`` are the qualified name and the message of what its loading raised, or empty.
    """

    code = "load-failed"

    def __init__(self, message: str, type_name: str = "", text: str = "") -> None:
        super().__init__(message, type_name, text)
        self.type_name = type_name
        self.text = text

    def __str__(self) -> str:
        return str(self.args[0])


class NotEnoughMemory(LoadFailed):
    """There is no room for a model. In bytes: what it needs, and of the device that it was meant for what
    is in use, the budget, and what unloading others could free.
    """

    code = "not-enough-memory"

    def __init__(self, message: str, needed: int = 0, in_use: int = 0, budget: int = 0, freeable: int = 0) -> None:
        super().__init__(message)
        self.args = (message, needed, in_use, budget, freeable)
        self.needed = needed
        self.in_use = in_use
        self.budget = budget
        self.freeable = freeable


class RemoteError(SharedModelError):
    """The model's own exception, of a type that this process has not loaded.

    ``type_name`` is its qualified name in the host.
    """

    code = "model"

    def __init__(self, message: str, type_name: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name


class UnknownObject(RemoteError, KeyError):
    """No object has this number or name here: it was dropped, or its host was restarted."""

    code = "unknown-object"
    __str__ = Exception.__str__  # KeyError shows the repr of its message


class UnknownTypeid(BadArgument, RemoteError):
    """No such typeid is registered with the server of the manager."""

    code = "unknown-typeid"


class NotExposed(NotPermitted, RemoteError):
    """The object has no such method for callers; the message says which it has."""

    code = "not-exposed"


class ProtocolError(SharedModelError):
    """The peer broke the rules of the wire; its session is ended."""

    code = "protocol"


class HostLost(SharedModelError, ConnectionError, EOFError):
    """The host went away; a call in flight may or may not have run.

    ``begun`` is False where it certainly has not: the host was gone before the call left. ``request`` is
    the call's number in its session, 0 where it was none.
    """

    code = "host-lost"
    begun = True
    request = 0


class HostUnavailable(HostLost, ConnectionRefusedError):
    """Nobody listens at the address."""

    code = "host-unavailable"


class RemoteTraceback(Exception):
    """The traceback of an exception in the host, as its text; shown as ``__cause__``.

    ``load_failed`` is the message of the LoadFailed in whose place a stand-in raises the exception, or empty.
    """

    def __init__(self, text: str, load_failed: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.load_failed = load_failed

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def _tree(root: type[SharedModelError]) -> dict[str, type[SharedModelError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


_BY_CODE = _tree(SharedModelError)


def by_code(code: str) -> type[SharedModelError]:
    """The class of a wire code; the root for a code from a newer peer."""
    return _BY_CODE.get(code, SharedModelError)
