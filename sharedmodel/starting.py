"""How a manager's process begins and ends: what is said when it can't, and who ends it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from multiprocessing import connection, process
from typing import TYPE_CHECKING, Any

from .errors import CannotCross, HostLost
from .sessions import SESSIONS

if TYPE_CHECKING:
    from .manager import Server


def must_not_be_importing() -> None:
    """Raise when multiprocessing is importing this very program in a child, for a start() at its top level."""
    if not getattr(process.current_process(), "_inheriting", False):
        return
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    raise RuntimeError(
        f"{frame.f_code.co_filename}, line {frame.f_lineno}: this line starts a manager while the module is "
        "imported, and every process that is spawned imports it again. Move it under\n"
        "    if __name__ == '__main__':\n"
        "or into a function that is called from there."
    )


def send_failure(writer: Any, exc: Exception) -> None:
    """The reason why a manager does not start, to the process that waits for it."""
    try:
        writer.send(exc)
    except Exception:
        writer.send(RuntimeError(f"{type(exc).__name__}: {exc}"))
    writer.close()


def end_with_parent(server: Server) -> None:
    """Stop serving when the process that started us is gone, however it went."""
    parent = process.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        server._service.stop()

    threading.Thread(target=watch, name="sharedmodel-parent", daemon=True).start()


def end_process(child: Any, address: str, timeout: float, owner: int) -> None:
    """Ask the process to end, then make it."""
    if os.getpid() != owner:
        return  # a forked child's copy of the manager
    if child.is_alive():
        with contextlib.suppress(HostLost, OSError, CannotCross):
            SESSIONS.current(address, timeout).control("shutdown", timeout=timeout)
        child.join(timeout)
    SESSIONS.close(address)
    for end in (child.terminate, child.kill):
        if child.is_alive():
            end()
            child.join(timeout)
    with contextlib.suppress(OSError):
        os.unlink(address)
