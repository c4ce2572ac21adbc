"""`aconnect()`: the same on an asyncio event loop.

async with await aconnect() as host:
    ocr = await host.model("ocr")
    lines = await ocr.ocr("page.png")
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import numpy as np

from sharedmodel import deadlines
from sharedmodel.aio import AsyncSession
from sharedmodel.crossing import load_unowned, proxy_bytes
from sharedmodel.errors import DeadlineExceeded, HostLost, HostUnavailable, SharedModelError
from sharedmodel.session import CONTROL
from sharedmodel.tensor import Array

from . import placing
from .again import DIRECTORY, TRIES, Made, looks
from .aio_model import AsyncModel
from .find import find
from .host import versioned
from .instances import Instances
from .replay import Question, Replay
from .waiting import PATIENCE, is_there


async def aconnect(
    address: str | os.PathLike[str] | None = None,
    *,
    start: bool | None = None,
    timeout: float | None = None,
    authkey: bytes | None = None,
    shared_memory: bool = True,
) -> AsyncHost:
    """Connect to the host from an event loop. Arguments and errors as for `connect`."""
    # Starting an embedded host waits on locks and files: not on the loop.
    timeout = deadlines.checked("timeout", timeout)
    found = await asyncio.to_thread(find, address, start, timeout)
    host = AsyncHost(found, authkey=authkey, shared_memory=shared_memory)
    await _again(partial(host.session, timeout))
    return host


class AsyncHost:
    """A host, for the tasks of one event loop."""

    def __init__(self, address: str, **options: Any) -> None:
        self.address = address
        self._options = options
        self._session: AsyncSession | None = None
        self._opening = asyncio.Lock()
        self._others: dict[str, AsyncHost] = {}

    async def model(
        self,
        name: str,
        *,
        version: str | None = None,
        timeout: float | None = None,
        within: float | None = None,
        **spec: Any,
    ) -> AsyncModel:
        """A model by its name; as `Host.model`."""
        timeout, within = deadlines.checked("timeout", timeout), deadlines.checked("within", within)
        name = versioned(name, version)
        end = None if within is None else asyncio.get_running_loop().time() + within
        if spec:
            await self.ask(DIRECTORY, "load", (name, spec), within)
        where, info = await self._placed(name, end)
        return AsyncModel(self, where, name, info, timeout)

    async def _placed(self, name: str, end: float | None) -> tuple[Instances | None, dict[str, Any]]:
        info = await self._described(name, end)
        if (where := info.get("elsewhere")) is None:
            return None, info
        instances = Instances(**where)
        return instances, await self._described(name, end, instances)

    async def moved(
        self, where: Instances | None, name: str, exc: SharedModelError, end: float | None
    ) -> tuple[Instances | None, dict[str, Any]] | None:
        """As `placing.moved`."""
        if not placing.may_have_moved(name, exc):
            return None
        until = asyncio.get_running_loop().time() + placing.PATIENCE
        while True:
            try:
                found = await self._placed(name, end)
                if _addresses(found[0]) != _addresses(where):
                    return found
            except placing.NOT_YET:
                if where is None and isinstance(exc, HostLost):
                    return None  # the directory itself is gone
            if _left(end) == 0 or asyncio.get_running_loop().time() > until:
                return None
            await asyncio.sleep(placing.PAUSE)

    async def _described(self, name: str, end: float | None, where: Instances | None = None) -> dict[str, Any]:
        while True:
            told: dict[str, Any] = await self.ask(DIRECTORY, "describe", (name, PATIENCE), _left(end), where)
            if is_there(told):
                return told

    def _at(self, address: str) -> AsyncHost:
        """Another host of the same server, entered as this one was."""
        if address not in self._others:
            self._others[address] = AsyncHost(address, **self._options)
        return self._others[address]

    async def models(self) -> dict[str, Any]:
        """The models that the host serves and the state of each."""
        states: dict[str, Any] = await self.ask(DIRECTORY, "states")
        return states

    async def load(
        self, name: str, *, version: str | None = None, default: bool = False, timeout: float | None = None
    ) -> dict[str, Any]:
        """Load a model of the host's configuration; as `Host.load`."""
        return await self._manage("load", versioned(name, version), None, default, timeout=timeout)

    async def unload(self, name: str, *, version: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Let a model go until its next call; as `Host.unload`."""
        return await self._manage("unload", versioned(name, version), timeout=timeout)

    async def reload(self, name: str, *, version: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Load a model anew and swap; as `Host.reload`."""
        return await self._manage("reload", versioned(name, version), timeout=timeout)

    async def warmup(self, name: str, *, version: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Make a model's warm-up calls and its canary; as `Host.warmup`."""
        return await self._manage("warmup", versioned(name, version), timeout=timeout)

    async def _manage(self, method: str, *args: Any, timeout: float | None) -> dict[str, Any]:
        timeout = deadlines.checked("timeout", timeout)
        end = None if timeout is None else asyncio.get_running_loop().time() + timeout
        before = None
        while True:
            state: dict[str, Any] = await self.ask(DIRECTORY, method, args, _left(end))
            addresses = state.get("elsewhere", {}).get("addresses", ())
            try:
                for address in addresses:
                    state = await self._at(address).ask(DIRECTORY, method, args, _left(end))
                return state
            except placing.NOT_YET as exc:  # as in `Host._manage`
                if addresses == before or not placing.may_have_moved(args[0], exc):
                    raise
            before = addresses
            await asyncio.sleep(placing.PAUSE)

    async def status(self) -> dict[str, Any]:
        """The host in numbers; memory in bytes."""
        status: dict[str, Any] = await self.ask(CONTROL, "status")
        return status

    async def empty(self, shape: Any, dtype: Any = float, order: Any = "C") -> Array:
        """An uninitialised array in shared memory: given as an argument, it is not copied."""

        async def make() -> Array | None:
            return await (await self.session()).empty(shape, dtype, order)

        array = await _again(make)
        return np.empty(shape, dtype, order) if array is None else array

    async def ask(
        self,
        ident: Any,
        method: str,
        args: tuple[Any, ...] = (),
        timeout: float | None = None,
        where: Instances | None = None,
    ) -> Any:
        """A question to the server, which may be asked again when a host died over it."""
        end = None if timeout is None else asyncio.get_running_loop().time() + timeout

        async def question() -> Any:
            session = await self._reach(where, end)
            return await session.call(ident, method, args, {}, _left(end))

        return await _again(question)

    async def call(
        self,
        where: Instances | None,
        model: str,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        replay: Replay,
        end: float | None,
        priority: int = 0,
        question: Question | None = None,
    ) -> Any:
        """A model's call, sent again where its host died and `Replay` allows it.

        ``where``: the hosts to ask; this one has the directory. ``end``: of all of it, by the loop's clock.
        ``question``: as that of `again.replayed`.
        """
        while True:
            if question is not None:
                replay.told(await self.ask(DIRECTORY, "verdict", question, _left(end)))
            if replay.quarantine is None:
                session = await _again(partial(self._reach, where, end))
            else:
                session = await _again(partial(self._at(replay.quarantine)._session_by, end))
            try:
                return await session.call(model, method, args, kwargs, _left(end), priority)
            except HostLost as exc:
                question = replay.lost(exc, session.welcome)

    async def _reach(self, where: Instances | None, end: float | None) -> AsyncSession:
        """A session with one of the hosts, or with this one (see `again.reach`)."""
        if where is None:
            return await self._session_by(end)
        if len(where.addresses) > 1:
            for patience in looks(_left(end)):
                with contextlib.suppress(DeadlineExceeded):
                    return await self._at(where.pick())._session_by(asyncio.get_running_loop().time() + patience)
        return await self._at(where.pick())._session_by(end)

    async def _session_by(self, end: float | None) -> AsyncSession:
        try:
            async with asyncio.timeout_at(end):
                return await self.session()
        except TimeoutError:
            raise DeadlineExceeded(f"{self.address} did not answer before the caller's deadline") from None

    async def session(self, timeout: float | None = None) -> AsyncSession:
        """The live session, made anew if the host was restarted."""
        async with self._opening:
            if self._session is None or not self._session.alive:
                self._session = await AsyncSession.open(
                    self.address, timeout=timeout, proxy=proxy_bytes, load=load_unowned, **self._options
                )
            return self._session

    async def aclose(self) -> None:
        """End the session. Idempotent."""
        for other in self._others.values():
            await other.aclose()
        if self._session is not None:
            self._session.close()

    async def __aenter__(self) -> AsyncHost:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def _again(make: Callable[[], Awaitable[Made]]) -> Made:
    """As `again.again`."""
    for _ in range(TRIES):
        try:
            return await make()
        except HostUnavailable:
            raise
        except HostLost:
            pass
    return await make()


def _addresses(where: Instances | None) -> list[str]:
    return [] if where is None else where.addresses


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - asyncio.get_running_loop().time())
