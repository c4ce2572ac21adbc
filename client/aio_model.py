"""A model of a host, for the tasks of one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from sharedmodel import deadlines
from sharedmodel.aio import AsyncSession
from sharedmodel.aio_stream import AsyncStream
from sharedmodel.errors import HostLost, HostUnavailable, UnknownObject

from .files import with_files_read
from .instances import Instances
from .model import checked_priority, not_exposed
from .replay import Question, Replay

if TYPE_CHECKING:
    from .aio import AsyncHost


class AsyncModel:
    """A model in the host; what it exposes are coroutine methods here."""

    def __init__(
        self,
        host: AsyncHost,
        where: Instances | None,
        name: str,
        info: dict[str, Any],
        timeout: float | None,
        priority: int = 0,
    ) -> None:
        self._host = host
        self._where = where
        self._name = name
        self._info = info
        self._timeout = timeout
        self._priority = priority

    def with_timeout(self, seconds: float | None) -> AsyncModel:
        """The same model with another deadline for its calls; as `Model.with_timeout`."""
        seconds = deadlines.checked("timeout", seconds)
        return AsyncModel(self._host, self._where, self._name, self._info, seconds, self._priority)

    def with_priority(self, priority: int) -> AsyncModel:
        """The same model with another priority for its calls; as `Model.with_priority`."""
        return AsyncModel(self._host, self._where, self._name, self._info, self._timeout, checked_priority(priority))

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("__"):
            raise AttributeError(method)
        if method not in self._info["exposed"]:
            raise AttributeError(not_exposed(self._name, method, self._info))

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._call(method, args, kwargs)

        self.__dict__[method] = call
        return call

    async def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._info.get("files", {}).get(method):
            args, kwargs = await asyncio.to_thread(with_files_read, self._info, method, args, kwargs)
        replay = Replay(f"{self._name}.{method}()", method in self._info["idempotent"])
        end = None if self._timeout is None else asyncio.get_running_loop().time() + self._timeout
        return await self._replayed(method, args, kwargs, end, replay)

    async def _replayed(
        self,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        end: float | None,
        replay: Replay,
        question: Question | None = None,
    ) -> Any:
        """The call; ``question`` is what is to be asked about a first attempt."""
        priority = self._priority
        while True:
            try:
                found = await self._host.call(
                    self._where, self._name, method, args, kwargs, replay, end, priority, question
                )
                if isinstance(found, AsyncStream) and replay.idempotent:
                    found.begin_again = partial(self._begin_again, found.session, method, args, kwargs, end, replay)
                return found
            except (HostUnavailable, UnknownObject) as exc:
                if (found := await self._host.moved(self._where, self._name, exc, end)) is None:
                    raise
                self._where, self._info = found
                question = None

    async def _begin_again(
        self,
        session: AsyncSession,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        end: float | None,
        replay: Replay,
        exc: HostLost,
    ) -> AsyncStream:
        found = await self._replayed(method, args, kwargs, end, replay, replay.lost(exc, session.welcome))
        if not isinstance(found, AsyncStream):
            raise exc  # the method is another one by now
        return found
