"""A worker of gunicorn with uvicorn that loses no request when it is told to end.

    gunicorn app:app -w 4 -k sharedmodel.client.web.worker.Worker

uvicorn's own closes the connections on which no request has been read at that moment, also those that were
accepted in the same millisecond. This one stops accepting, goes on for ``LINGER`` seconds with those that it
has, each answer being the last of its connection, and then ends as uvicorn's does. Connections that come
meanwhile wait in the backlog for the other workers, or for the next ones. It also ends when gunicorn was killed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any, Final

from uvicorn.config import Config
from uvicorn.server import Server

if TYPE_CHECKING:
    UvicornWorker: Any
else:
    try:
        from uvicorn_worker import UvicornWorker
    except ImportError:
        with warnings.catch_warnings():  # it asks for the package above, which not everybody has
            warnings.simplefilter("ignore", DeprecationWarning)
            from uvicorn.workers import UvicornWorker

LINGER: Final = 1.0  # seconds: far more than lies between a connection and its request
_BOOT_ERROR: Final = 3  # gunicorn's: a worker that ends so can't start, and is not tried for ever


class LingeringServer(Server):
    """uvicorn's server, with an end as told above. ``parent``: the process without which it ends."""

    def __init__(self, config: Config, parent: int) -> None:
        super().__init__(config)
        self._parent = parent

    async def on_tick(self, counter: int) -> bool:
        """Several times a second: whether to end."""
        if os.getppid() != self._parent:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, answer what comes on the connections that there are, end."""
        for server in self.servers:
            server.close()
        state = self.server_state
        state.default_headers = [*state.default_headers, (b"connection", b"close")]
        end = time.monotonic() + LINGER
        while True:
            await asyncio.sleep(0.05)  # first of all: what has just been accepted is no connection yet
            if not state.connections or time.monotonic() > end or self.force_exit:
                break
        await super().shutdown(sockets)


class Worker(UvicornWorker):  # type: ignore[misc]
    """gunicorn's worker class."""

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = LingeringServer(self.config, self.ppid)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(_BOOT_ERROR)
