"""`connect()` and what it gives: the host, and its models (see `model`)."""

from __future__ import annotations

import os
import time
from typing import Any

from sharedmodel import deadlines
from sharedmodel.handle import LEASE, Handle
from sharedmodel.session import CONTROL
from sharedmodel.sessions import SESSIONS
from sharedmodel.tensor import Array

from .again import DIRECTORY, again, asked, empty, reach
from .find import find
from .model import Model
from .placing import NOT_YET, PAUSE, may_have_moved, placed


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

        One that has failed is tried again at once; calls are told of the failure for 5 s before they have it tried.
        ``default`` makes the version the model's default, for calls that begin from then on. Raises LoadFailed,
        BadArgument for a model that there is not, NotPermitted for another user than the server's,
        DeadlineExceeded after ``timeout`` seconds. So do the three below.
        """
        return self._manage("load", versioned(name, version), None, default, timeout=timeout)

    def unload(self, name: str, *, version: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Let a model go, when the calls that run in it have ended; its next call loads it again. Its state.

        A load under way is abandoned; who waits for it is served by the next one.
        """
        return self._manage("unload", versioned(name, version), timeout=timeout)

    def reload(self, name: str, *, version: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Load a model anew beside the one that serves, and swap: no call fails. Its state.

        A load under way is waited for, and abandoned when it has taken 10 s. Raises LoadFailed where the new one
        can't be loaded; then the old one goes on.
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
        end, before = deadlines.after(timeout), None
        while True:
            state: dict[str, Any] = self._ask(DIRECTORY, method, name, *args, timeout=deadlines.left(end))
            addresses = state.get("elsewhere", {}).get("addresses", ())
            try:
                for address in addresses:
                    SESSIONS.follow(address, self.address)
                    state = asked(address, DIRECTORY, method, name, *args, timeout=deadlines.left(end))
                return state
            except NOT_YET as exc:  # a new configuration may have moved it on the way
                if addresses == before or not may_have_moved(name, exc):
                    raise
            before = addresses
            time.sleep(PAUSE)

    def _ask(self, ident: Any, method: str, *args: Any, timeout: float | None = None) -> Any:
        return asked(self.address, ident, method, *args, timeout=timeout)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Host at {self.address}>"


def versioned(name: str, version: str | None) -> str:
    """A version's name on the wire."""
    return name if version is None else f"{name}@{version}"
