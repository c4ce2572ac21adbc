"""A model of a host, for the tasks of one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sharedmodel.errors import HostUnavailable, UnknownObject

from .files import with_files_read
from .instances import Instances
from .model import checked_priority, not_exposed
from .replay import Replay

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
        """The same model with another deadline for its calls."""
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
        while True:
            try:
                return await self._host.call(self._where, self._name, method, args, kwargs, replay, end, self._priority)
            except (HostUnavailable, UnknownObject) as exc:
                if (found := await self._host.moved(self._where, self._name, exc, end)) is None:
                    raise
                self._where, self._info = found
