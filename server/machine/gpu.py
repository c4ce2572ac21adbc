"""The memory of GPUs, as nvidia-smi tells it. Not verified on a GPU: only against its output as documented.

Its numbers are those of the bus. CUDA in a process counts the same way only under CUDA_DEVICE_ORDER=PCI_BUS_ID,
and only what CUDA_VISIBLE_DEVICES lets it see: `visible` gives the devices in that order. Parts of a GPU (MIG) are
not known here.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from .governor import Device

_GPUS: Final = "--query-gpu=index,uuid,name,memory.total,memory.used"
_PROCESSES: Final = "--query-compute-apps=gpu_uuid,pid,used_memory"
_TIMEOUT: Final = 10.0  # a driver that is not kept loaded takes seconds to wake
_MIB: Final = 1 << 20
_SPARE: Final = 20  # a twentieth is left for the context and for fragments


class Gpu(NamedTuple):
    """One GPU; ``total`` and ``used`` in bytes, used by whichever process."""

    number: int
    uuid: str
    name: str
    total: int
    used: int

    def device(self, number: int, budget: int | None = None, own: int = 0) -> Device:
        """For the governor, as CUDA calls it in the process: "cuda:0".

        ``budget``: nineteen twentieths if None, of which all is gone that anybody uses. Of one that was configured
        gone is what the server's ``own`` processes use, and what can't be had because others have it.
        """
        name = f"cuda:{number}"
        if budget is None:
            return Device(name, self.total - self.total // _SPARE, self.used)
        return Device(name, budget, max(0, own, budget - (self.total - self.used)))


def gpus(ask: Callable[[], str] | None = None) -> list[Gpu]:
    """The GPUs of this machine; none where nvidia-smi is missing or fails. It takes some 50 ms and more."""
    return [gpu for line in _lines(ask or (lambda: _ask(_GPUS))) if (gpu := _parsed(line)) is not None]


class Process(NamedTuple):
    """One that uses a GPU: that one's UUID, its own number, and bytes."""

    gpu: str
    pid: int
    used: int


def processes(ask: Callable[[], str] | None = None) -> list[Process]:
    """Those that use a GPU, once for each; their numbers are not ours in a container with numbers of its own."""
    found = []
    for line in _lines(ask or (lambda: _ask(_PROCESSES))):
        uuid, pid, used = [*(word.strip() for word in line.split(",")), "", "", ""][:3]
        if pid.isdecimal() and used.isdecimal():
            found.append(Process(uuid, int(pid), int(used) * _MIB))
    return found


def visible(found: Sequence[Gpu], setting: str | None) -> list[Gpu]:
    """Those that a process sees under a CUDA_VISIBLE_DEVICES, in its order: numbers or beginnings of UUIDs.

    As CUDA does, what comes after the first entry that names none is not seen. None: all of them.
    """
    if setting is None:
        return list(found)
    seen: list[Gpu] = []
    for word in setting.split(","):
        named = [gpu for gpu in found if _is_named(gpu, word.strip())]
        if len(named) != 1 or named[0] in seen:
            break
        seen += named
    return seen


def _is_named(gpu: Gpu, word: str) -> bool:
    return gpu.number == int(word) if word.isdecimal() else bool(word) and gpu.uuid.startswith(word)


def _lines(ask: Callable[[], str]) -> list[str]:
    try:
        return ask().splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


def _ask(query: str) -> str:
    """Raises OSError and SubprocessError. One that does not even die when it is killed is not waited for."""
    command = ("nvidia-smi", query, "--format=csv,noheader,nounits")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    with process.stdout:
        try:
            text, _ = process.communicate(timeout=_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return text


def _parsed(line: str) -> Gpu | None:
    # A name may hold commas; memory is "[N/A]" where it is the machine's own.
    number, _, rest = line.partition(",")
    uuid, _, rest = rest.partition(",")
    name, *sizes = (word.strip() for word in rest.rsplit(",", 2))
    if not number.strip().isdecimal() or len(sizes) != 2 or not all(word.isdecimal() for word in sizes):
        return None
    total, used = (int(word) * _MIB for word in sizes)
    return Gpu(int(number), uuid.strip(), name, total, used)
