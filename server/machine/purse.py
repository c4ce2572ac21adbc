"""What the server has of the main memory, and what of it is gone."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from .budget import MACHINE, budget
from .family import at_most, shares
from .governor import CPU, Device
from .memory import memory
from .own import own_memory


class Purse(NamedTuple):
    """``configured``: the budget in bytes, if somebody set one. ``supervisor``: the process that all others come of.
    ``open``: models may have as much as they ask for.

    In use is, where a budget was configured, what the server's own processes take (the sum of their PSS);
    else, and where others have so much that the budget can't be had, what is gone of the control group or
    of the machine, whoever has it.
    """

    configured: int | None = None
    supervisor: int = 0
    open: bool = False

    def device(self, root: str = "/", *, roughly: bool = False) -> Device:
        """The numbers now. ``roughly``: in use may be said to be more than it is, which costs less."""
        own = 0
        if self.configured is not None:
            own = (at_most if roughly else shares)(self.supervisor or os.getpid(), root)
        found = memory(root)
        most = budget(found, self.configured)
        return Device(CPU, most.bytes, most.in_use(found, own))

    def own(self) -> int:
        """What this process takes."""
        return own_memory().pss

    def told(self) -> dict[str, Any]:
        """The same as plain data, and who set the budget."""
        device = self.device()
        source = budget(memory(), self.configured).source
        return {"budget": device.budget, "in_use": device.in_use, "source": source}

    @property
    def limited(self) -> bool:
        """Whether anybody set a limit: not just the machine's own size."""
        return budget(memory(), self.configured).source != MACHINE
