"""The GPUs that a host may use: how much of each is budgeted, and how much of that is gone.

nvidia-smi is asked, which takes some 50 ms and more: who needs to know now says so (`forget`), else the last answer
does for a second. Not verified on a GPU: only against an nvidia-smi that gives what is documented.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sharedmodel.errors import BadArgument

from . import gpu
from .amount import size
from .family import family
from .governor import Device

FRESH: Final = 1.0  # seconds
_ORDER: Final = "CUDA_DEVICE_ORDER"
_OF_THE_BUS: Final = "PCI_BUS_ID"
_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_NONE: Final[Mapping[str, int]] = MappingProxyType({})


class Reading(NamedTuple):
    """One GPU. In bytes ``used`` by whichever process, and by this one: ``own``, 0 also where nvidia-smi does not see
    it under its own number. ``title``: what it is."""

    device: Device
    used: int
    own: int
    title: str


class Gpus:
    """Of one host. ``budgets``: bytes by device, those that were configured. ``supervisor``: the process that all of
    the server's others come of. ``first``: which of several GPUs a model is put on that may be on any, if it has
    room; None: on that with most room. Any thread may ask.

    Where nvidia-smi tells of no GPU at all (it is missing, or memory is the machine's own), those with a configured
    budget are taken to be there; what is gone of them is then what models are expected to take.
    """

    def __init__(
        self,
        budgets: Mapping[str, int] = _NONE,
        supervisor: int = 0,
        first: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budgets = budgets
        self._supervisor = supervisor
        self.first = first
        self._clock = clock
        self._lock = threading.Lock()
        self._readings: list[Reading] = []
        self._until = float("-inf")
        self._forgot = 0  # how often; an answer that was under way then is as old as the others
        self._at = 0.0  # of the wall's clock

    def forget(self) -> None:
        """What was read is not so any more."""
        self._forgot += 1
        self._until = float("-inf")

    def ask(self) -> None:
        """Ask nvidia-smi, unless it has just been. A driver in trouble takes its time: hold no lock meanwhile."""
        with self._lock:
            if self._clock() >= self._until:
                forgot = self._forgot
                self._readings = self._read()
                self._at = time.time()
                if forgot == self._forgot:
                    self._until = self._clock() + FRESH

    def look(self) -> list[Reading]:
        """All of them as they were read last, in the order in which they are to be tried."""
        found = self._readings
        turn = (self.first or 0) % max(1, len(found))
        return [*found[turn:], *found[:turn]]

    def named(self, device: str) -> Reading:
        """One of them. Raises BadArgument, with those that there are."""
        found = self.any()
        for reading in found:
            if reading.device.name == device:
                return reading
        there = "; ".join(f"{reading.device.name}: {reading.title}" for reading in found)
        raise BadArgument(f"no {device} here; there are: {there}")

    def any(self) -> list[Reading]:
        """All of them, at least one. Raises BadArgument, also where they can't be told apart for certain."""
        if not (found := self.look()):
            setting = os.environ.get(_VISIBLE)
            seen = "" if setting is None else f" that {_VISIBLE}={setting} lets a process see"
            raise BadArgument(f'nvidia-smi shows no GPU{seen}: use the device "cpu"')
        there = {reading.device.name for reading in found}
        if unknown := sorted(self._budgets.keys() - there):
            raise BadArgument(f"`devices` has a budget for {unknown[0]}; there are: {', '.join(sorted(there))}")
        order = os.environ.get(_ORDER, _OF_THE_BUS)
        if len(found) > 1 and order != _OF_THE_BUS:
            raise BadArgument(f"{_ORDER}={order}: CUDA would count GPUs otherwise than nvidia-smi does; unset it")
        return found

    def told(self) -> list[dict[str, Any]]:
        """What was read last, as plain data; nothing where nobody has asked yet. Never asks."""
        return [
            {
                "name": reading.device.name,
                "title": reading.title,
                "budget": reading.device.budget,
                "in_use": reading.device.in_use,
                "source": "configuration" if reading.device.name in self._budgets else "machine",
                "at": self._at,
            }
            for reading in self._readings
        ]

    def _read(self) -> list[Reading]:
        found = gpu.visible(gpu.gpus(), os.environ.get(_VISIBLE))
        if not found and self._readings:
            return self._readings  # it could not answer in time
        if not found:
            budgets = sorted(self._budgets.items())
            return [Reading(Device(name, budget), 0, 0, "as configured") for name, budget in budgets]
        there = gpu.processes()
        servers = set(family(self._supervisor or os.getpid()))
        return [self._reading(each, number, there, servers) for number, each in enumerate(found)]

    def _reading(self, found: gpu.Gpu, number: int, there: list[gpu.Process], servers: set[int]) -> Reading:
        here = [each for each in there if each.gpu == found.uuid]
        ours = sum(each.used for each in here if each.pid in servers)
        if not any(os.path.exists(f"/proc/{each.pid}") for each in here):
            ours = found.used  # processes have other numbers here, and it might be any of them
        own = sum(each.used for each in here if each.pid == os.getpid())
        device = found.device(number, self._budgets.get(f"cuda:{number}"), ours)
        return Reading(device, found.used, own, f"{found.name}, {size(found.total)}")
