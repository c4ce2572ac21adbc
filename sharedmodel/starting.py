"""A manager's process from the outside: how it is started and ended, and what is said when it can't be."""

from __future__ import annotations

import contextlib
import os
import sys
from multiprocessing import ProcessError, process
from typing import Any

from .errors import CannotCross, HostLost
from .sessions import SESSIONS


class EndedEarly(ProcessError, EOFError):
    """The manager's process ended before it served."""


def must_not_be_importing(what: str = "a manager") -> None:
    """Raise when this very program is being imported in a child, for a line at its top level that starts ``what``."""
    if not getattr(process.current_process(), "_inheriting", False):
        return
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    raise RuntimeError(
        f"{frame.f_code.co_filename}, line {frame.f_lineno}: this line starts {what} while the module is "
        "imported, and every process that is spawned imports it again. Move it under\n"
        "    if __name__ == '__main__':\n"
        "or into a function that is called from there."
    )


def launch(child: Any, context: Any) -> None:
    """Start the process. Raises TypeError where what it is to serve can't be sent to it."""
    try:
        child.start()
    except Exception as exc:
        if "pickle" not in f"{type(exc).__name__} {exc}".lower():
            raise
        method = context.get_start_method()
        raise TypeError(
            f"under the start method {method!r} what is registered is sent to the new process, and {exc}; "
            "register functions and classes of a module (not lambdas, not local ones), or use "
            "ctx=multiprocessing.get_context('fork')"
        ) from exc


def await_address(child: Any, reader: Any) -> str:
    """Where the process serves. Raises EndedEarly, or what it says that went wrong there."""
    try:
        sent = reader.recv()
    except EOFError:
        child.join()
        raise EndedEarly(
            f"the manager's process ended before it served (exit code {child.exitcode}); its own "
            "message is above. Is start() under `if __name__ == '__main__':`?"
        ) from None
    finally:
        reader.close()
    if isinstance(sent, Exception):
        child.join()
        raise sent
    return str(sent)


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
