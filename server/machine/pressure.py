"""Pressure stall information: how much of the last ten seconds tasks stood still for want of memory."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from . import files
from .cgroup import groups

_AVERAGE: Final = re.compile(r"^(some|full) avg10=(\d+(?:\.\d+)?)", re.MULTILINE)


class Stall(NamedTuple):
    """Per cent of the last ten seconds in which some task, or every task, waited for memory."""

    some: float = 0.0
    full: float = 0.0


class Pressure(NamedTuple):
    """Of the control groups (the worst of own and those above) and of the machine; None: the kernel doesn't say."""

    group: Stall | None = None
    machine: Stall | None = None

    @property
    def some(self) -> float:
        """The worse of both; 0 where nothing is known."""
        return max((stall.some for stall in (self.group, self.machine) if stall is not None), default=0.0)


def pressure(root: str = "/") -> Pressure:
    """The pressure now. Version 1 of the control groups does not measure it."""
    texts = [group.read("memory.pressure") for group in groups("memory", root) if group.version == 2]
    stalls = [stall for text in texts if (stall := _stall(text)) is not None]
    return Pressure(max(stalls, default=None), _stall(files.read(root, "proc/pressure/memory")))


def _stall(text: str | None) -> Stall | None:
    averages = {name: float(value) for name, value in _AVERAGE.findall(text or "")}
    return Stall(**averages) if averages else None
