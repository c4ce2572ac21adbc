"""Which host to talk to: the one named, the user's own, or an embedded one started now.

1  the argument of connect()
2  $SHAREDMODEL_ADDRESS
3  host.sock in the runtime directory (see `sharedmodel.runtime`): a server the user started
4  an embedded host, unless start=False or $SHAREDMODEL_EMBEDDED is 0
"""

from __future__ import annotations

import os
from typing import Final

from sharedmodel import link, runtime
from sharedmodel.errors import HostUnavailable

ADDRESS_VARIABLE: Final = "SHAREDMODEL_ADDRESS"
EMBEDDED_VARIABLE: Final = "SHAREDMODEL_EMBEDDED"
SOCKET: Final = "host.sock"


def find(address: str | os.PathLike[str] | None, start: bool | None, timeout: float | None) -> str:
    """The address to connect to. Raises HostUnavailable, saying how to start one, when there is none."""
    named = address or os.environ.get(ADDRESS_VARIABLE)
    if named:
        return link.check_address(os.fspath(named))
    own = os.path.join(runtime.runtime_dir(), SOCKET)
    if link.answers(own):
        return own
    if not may_start(start):
        raise HostUnavailable(
            f"no host is running (nobody listens at {own}) and none may be started: run "
            f"`sharedmodel serve CONFIG.toml`, or name one by {ADDRESS_VARIABLE} or connect(address)"
        )
    from .embedded import ensure

    return ensure(timeout)


def may_start(start: bool | None) -> bool:
    """Whether an embedded host may be started: the argument, else the environment, else yes."""
    return os.environ.get(EMBEDDED_VARIABLE, "1") not in ("0", "no", "false") if start is None else start
