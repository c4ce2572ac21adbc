"""A manager's process from the inside: the server, and what its process does before it serves.

initializer ─► Server ─► its address, or why there is none, to the program that waits ─► serve_forever
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import connection, process
from typing import Any

from . import link, runtime
from .objects import Objects, Registration
from .service import Service


class Server:
    """What ``get_server()`` returns: ``serve_forever()`` serves in this process until it is told to stop."""

    def __init__(self, registry: dict[str, Registration], address: str | None, authkey: bytes | None) -> None:
        self.address = address or runtime.fresh_address()
        self._service = Service(link.listen(self.address), Objects(registry), authkey=authkey)

    @property
    def stop_event(self) -> threading.Event:
        """Set it to have `serve_forever` return."""
        return self._service.stopped

    def serve_forever(self) -> None:
        """Serve until a client calls shutdown, or the process is told to end (SIGTERM, SIGINT)."""
        try:
            self._service.serve_forever()
        except (KeyboardInterrupt, SystemExit):
            pass
        finally:
            self._service.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.address)


def serve_in_child(
    make: Callable[[], Server], writer: Any, initializer: Callable[..., Any] | None, initargs: tuple[Any, ...]
) -> None:
    """The manager's process: serve until it is told to stop. ``writer`` leads to the program that waits."""
    # As the standard library: Ctrl-C is for the program, which then ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if initializer is not None:
            initializer(*initargs)
        server = make()
    except Exception as exc:
        _send_failure(writer, exc)
        raise
    signal.signal(signal.SIGTERM, lambda *_: server._service.stop())
    _end_with_parent(server)
    writer.send(server.address)
    writer.close()
    server.serve_forever()


def _send_failure(writer: Any, exc: Exception) -> None:
    """The reason why a manager does not start, to the process that waits for it."""
    try:
        writer.send(exc)
    except Exception:
        writer.send(RuntimeError(f"{type(exc).__name__}: {exc}"))
    writer.close()


def _end_with_parent(server: Server) -> None:
    """Stop serving when the process that started us is gone, however it went."""
    parent = process.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        server._service.stop()

    threading.Thread(target=watch, name="sharedmodel-parent", daemon=True).start()
