"""The host of an asyncio web application: connected by its lifespan, its models given by dependencies.

An object of it may be made at import, also before workers are forked: nothing is opened until a loop runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from sharedmodel.client.aio import AsyncHost, aconnect
from sharedmodel.client.aio_model import AsyncModel
from sharedmodel.client.kinds import of_kind
from sharedmodel.errors import DeadlineExceeded, HostLost, NotExposed, UnknownObject

Given = TypeVar("Given")

_LOG: Final = logging.getLogger("sharedmodel.web")
_PAUSE: Final = 0.1  # seconds between two looks for a server that does not run yet
# After these the model may have moved to another host.
_MOVED: Final = (HostLost, UnknownObject, NotExposed)


class Models:
    """The host and its models, for the one event loop of this process."""

    def __init__(
        self,
        address: str | os.PathLike[str] | None = None,
        *,
        timeout: float | None = 30.0,
        patience: float = 10.0,
        start: bool = False,
    ) -> None:
        """``timeout``: the deadline of each call, in seconds. ``patience``: how long the application's start
        waits for a server that does not run yet; after that it starts without, and requests are answered 503
        until there is one. ``start``: whether an embedded host is started where there is none.
        """
        self._address = address
        self._timeout = timeout
        self._patience = patience
        self._start = start
        self._host: AsyncHost | None = None
        self._found: dict[str, AsyncModel] = {}
        self._connecting = asyncio.Lock()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Connects and closes: ``FastAPI(lifespan=models.lifespan)``, or ``async with`` in a lifespan of your own."""
        try:
            await self._awaited()
        except (HostLost, DeadlineExceeded) as exc:
            _LOG.warning("starting without a model server: %s", exc)
        try:
            yield
        finally:
            await self.aclose()

    def dependency(self, name: str, *, timeout: float | None = None) -> Callable[[], AsyncIterator[AsyncModel]]:
        """What gives a model: ``ocr: Annotated[AsyncModel, Depends(models.dependency("ocr"))]``.

        ``timeout``: another deadline for its calls.
        """

        async def model() -> AsyncIterator[AsyncModel]:
            try:
                found = await self.get(name)
                yield found if timeout is None else found.with_timeout(timeout)
            except _MOVED:
                self._found.pop(name, None)
                raise

        return model

    async def get(self, name: str) -> AsyncModel:
        """A model by its name; waits until it is loaded.

        Raises BadArgument for one that there is not, LoadFailed, DeadlineExceeded, HostUnavailable.
        """
        found = self._found.get(name)
        if found is None:
            host = await self.host()
            found = self._found[name] = await self._in_time(
                host.model(name, timeout=self._timeout, within=self._timeout), name
            )
        return found

    async def of_kind(self, kind: str) -> AsyncModel:
        """The one model of a kind ("cnocr", "embedder", …). Raises BadArgument where there is none, or several."""
        host = await self.host()
        return await self.get(of_kind(await self._in_time(host.models(), "the host"), kind))

    async def host(self) -> AsyncHost:
        """The host, connected. Raises HostUnavailable, DeadlineExceeded, NotPermitted or AuthenticationError."""
        return await self._in_time(self._connected(), "the host") if self._host is None else self._host

    async def _connected(self) -> AsyncHost:
        async with self._connecting:
            if self._host is None:
                self._host = await aconnect(self._address, start=self._start, timeout=self._timeout)
            return self._host

    async def aclose(self) -> None:
        """End the session. Idempotent; a later call opens a new one."""
        host, self._host = self._host, None
        self._found.clear()
        if host is not None:
            await host.aclose()

    async def _awaited(self) -> AsyncHost:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience
        while True:
            try:
                return await self.host()
            except (HostLost, DeadlineExceeded):
                if loop.time() >= end:
                    raise
            await asyncio.sleep(_PAUSE)  # nobody tells when a server begins to listen

    async def _in_time(self, asked: Awaitable[Given], what: str) -> Given:
        try:
            async with asyncio.timeout(self._timeout):
                return await asked
        except TimeoutError as exc:
            if isinstance(exc, DeadlineExceeded):
                raise
            raise DeadlineExceeded(f"{what} was not ready within {self._timeout:g} s") from None
