"""Where metrics may be served: on this machine only, for nobody is asked who they are."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

UNIX: Final = "unix"
ALLOWED: Final = (
    '"unix" (metrics.sock in the runtime directory), or a loopback address and a port, such as '
    '"127.0.0.1:9100", "localhost:9100" or "[::1]:9100"; port 0 means any that is free'
)
_HOST_PORT: Final = re.compile(r"(?:\[([0-9a-fA-F:]+)\]|([^:\[\]]+)):([0-9]{1,5})")


class Address(NamedTuple):
    """A numeric loopback address; "unix" and 0 for the socket in the runtime directory."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str) -> Address:
    """Raises ValueError, which says what is allowed."""
    if text == UNIX:
        return Address(UNIX, 0)
    found = _HOST_PORT.fullmatch(text)
    if found is None or int(found[3]) > 65535:
        raise ValueError(f"it is {ALLOWED}")
    host = "127.0.0.1" if found[2] == "localhost" else found[1] or found[2]
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(f"others than this machine's processes could read it there; it is {ALLOWED}")
    return Address(host, int(found[3]))
