"""Models that say what they hold instead of holding it, and the purse that they hold it of."""

from __future__ import annotations

import threading

from sharedmodel.server.machine.governor import CPU, Device
from sharedmodel.server.machine.purse import Purse


class Hoard:
    """Takes so many bytes when it is made, and gives them back when it is closed."""

    held = 0

    def __init__(self, size: int) -> None:
        Hoard.held += size
        self.size = size
        self.device: str | None = None
        self.inside = threading.Event()
        self.leave = threading.Event()

    def touch(self) -> int:
        return self.size

    def wait(self) -> int:
        self.inside.set()
        assert self.leave.wait(20)
        return self.size

    def close(self) -> None:
        Hoard.held -= self.size


class Vault(Purse):
    """Of 100 bytes."""

    def device(self, root: str = "/", *, roughly: bool = False) -> Device:
        return Device(CPU, 100, Hoard.held)

    def own(self) -> int:
        return Hoard.held


def hoard_on(size: int, device: str | None = None) -> Hoard:
    """One that was told where it is to run, or not."""
    made = Hoard(size)
    made.device = device
    return made
