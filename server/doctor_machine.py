"""The doctor's checks of memory, processors and limits, from the facts of a file tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from sharedmodel import segment

from .finding import OK, WARN, Finding
from .machine import files
from .machine.amount import size
from .machine.budget import CGROUP, budget
from .machine.cores import cores
from .machine.gpu import Gpu, visible
from .machine.gpu import gpus as ask_gpus
from .machine.limits import Limit, limits, shared_memory
from .machine.memory import UNKNOWN, memory
from .machine.oom import events, kills_all
from .machine.pressure import pressure
from .machine.relief import Thresholds
from .machine.threads import Share, plan

SHM: Final = segment.DIRECTORY
_SMALL_SHM: Final = 256 << 20
_SMALL_MEMORY: Final = 1 << 30
_FEW_FILES: Final = 4096
_FEW_TASKS: Final = 512  # a model library starts threads by the dozen
_FILES_A_CLIENT: Final = 6


def memory_limit(root: str = "/") -> Iterator[Finding]:
    """The budget, where it comes from, what is in use, and the kernel's kills."""
    now = memory(root)
    own = budget(now)
    text = f"{size(own.bytes)}, {size(own.in_use(now))} in use"
    if own.source == CGROUP:
        text += f" (limit of the cgroup; the machine has {size(now.total)})"
    elif now.total == UNKNOWN:
        text = "the machine does not tell how much it has (/proc/meminfo), and there is no cgroup limit"
    else:
        text += f" (nine tenths of the machine's {size(now.total)}; no cgroup limit below that)"
    if own.bytes < _SMALL_MEMORY:
        yield Finding("memory", WARN, text, "shared tensors count against it; raise it if models are killed")
    elif own.in_use(now) > Thresholds().full * own.bytes:
        yield Finding("memory", WARN, text, "nothing more will be loaded: end what else runs here, or raise the limit")
    else:
        yield Finding("memory", OK, text)
    happened = events(root)
    if happened.oom_kill:
        text = f"{happened.oom_kill} killed in this cgroup since it was made; its limit was hit {happened.max} times"
        yield Finding("out of memory", WARN, text, "raise the limit, or serve fewer models")


def group_kill(root: str = "/") -> Iterator[Finding]:
    """Whether the supervisor would survive a host that took too much."""
    if kills_all(root):
        yield Finding(
            "memory.oom.group",
            WARN,
            "is set: one process too large ends all of the container, this server included",
            "set it to 0 (Kubernetes: singleProcessOOMKill of the kubelet), so that only the host is started again",
        )


def memory_pressure(root: str = "/") -> Iterator[Finding]:
    """Whether tasks stand still for want of memory."""
    found = pressure(root)
    if found.group is None and found.machine is None:
        yield Finding("memory pressure", OK, "not measured by this kernel; budgets hold all the same")
        return
    text = f"{found.some:g} % of the last ten seconds were spent waiting for memory"
    if found.some > Thresholds().stalled:
        yield Finding("memory pressure", WARN, text, "more memory, fewer models, or end what else runs here")
    else:
        yield Finding("memory pressure", OK, text)


def gpus(environ: Mapping[str, str] = os.environ, ask: Callable[[], list[Gpu]] = ask_gpus) -> Iterator[Finding]:
    """The GPUs that models may run on."""
    there = ask()
    found = visible(there, environ.get("CUDA_VISIBLE_DEVICES"))
    if not found:
        why = "nvidia-smi shows none" if not there else "CUDA_VISIBLE_DEVICES hides those that nvidia-smi shows"
        yield Finding("gpus", OK, f'none: {why}; models run on processors (device = "cpu")')
    for number, gpu in enumerate(found):
        device = gpu.device(number)
        text = f"{gpu.name}, {size(gpu.total)}, {size(gpu.used)} in use"
        if gpu.used > Thresholds().full * device.budget:
            advice = "nothing more will be loaded there: end what else runs on it"
            yield Finding(device.name, WARN, text, advice)
        else:
            yield Finding(device.name, OK, text)
    order = environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if len(found) > 1 and order != "PCI_BUS_ID":
        text = f"CUDA_DEVICE_ORDER={order}: CUDA counts GPUs otherwise than nvidia-smi does"
        yield Finding("gpus", WARN, text, "unset it: no model will be loaded on a GPU with it")


def processors(
    root: str = "/", environ: Mapping[str, str] = os.environ, allowed: int | None = None
) -> Iterator[Finding]:
    """What models may use, and how many threads they will be given."""
    found = cores(root, allowed)
    quota = "no cgroup quota" if found.quota is None else f"a cgroup quota of {found.quota:g}"
    threads = plan(found.usable, [Share("one")]).threads["one"]
    text = f"{found.usable} to use ({found.allowed} by affinity, {quota}): {threads} threads for a model alone"
    text += ", divided where there are several"
    large = [f"{name}={value}" for name, value in environ.items() if _is_too_many(name, value, found.usable)]
    if large:
        text += f"; but the environment says {', '.join(large)}"
        advice = f"unset that, or set it to {found.usable}: more only get in each other's way"
        yield Finding("processors", WARN, text, advice)
    else:
        yield Finding("processors", OK, text)


def _is_too_many(name: str, value: str, usable: int) -> bool:
    return name.endswith("_NUM_THREADS") and value.isdecimal() and int(value) > usable


def shared(root: str = "/") -> Iterator[Finding]:
    """/dev/shm: there, in memory, writable, large enough."""
    path = os.path.join(root, SHM.lstrip("/"))
    space = shared_memory(root)
    if space is None:
        yield Finding(SHM, WARN, "is missing: anonymous memory is used in its place", f"mount a tmpfs on {SHM}")
        return
    kind = _filesystem(root)
    text = f"{kind}, {size(space.free)} free of {size(space.size)}"
    if kind != "tmpfs":
        yield Finding(SHM, WARN, f"{text}: not in memory, so slow", f"mount a tmpfs on {SHM}")
    elif not os.access(path, os.W_OK | os.X_OK):
        yield Finding(SHM, WARN, f"{text}: you may not write there; anonymous memory is used", f"chmod 1777 {SHM}")
    elif space.free < _SMALL_SHM:
        yield Finding(
            SHM,
            WARN,
            f"{text}: larger tensors go through anonymous memory",
            "give it more: docker run --shm-size=2g, or `gc` if it is full of leftovers",
        )
    else:
        yield Finding(SHM, OK, text)


def _filesystem(root: str) -> str:
    kind = "unknown"
    for line in (files.read(root, "proc/mounts") or "").splitlines():
        _, where, found, *_ = [*line.split(), "", "", ""]
        if where == SHM:
            kind = found
    return kind


def ulimits(root: str = "/") -> Iterator[Finding]:
    """Descriptors, processes and address space."""
    found = limits(root)
    soft, hard = found.files
    text = f"{_words(soft)}, the host raises it to {_words(hard)}"
    if hard is not None and hard < _FEW_FILES:
        clients = hard // _FILES_A_CLIENT
        yield Finding("open files", WARN, f"{text}: about {clients} clients", "raise ulimit -Hn, or LimitNOFILE=")
    else:
        yield Finding("open files", OK, text)
    yield from _tasks(found.processes, found.tasks)
    if found.address_space.soft is None:
        yield Finding("address space", OK, "unlimited")
    else:
        yield Finding(
            "address space",
            WARN,
            f"limited to {size(found.address_space.soft)}: mapped tensors count",
            "ulimit -v unlimited; limit memory by a cgroup instead",
        )


def _tasks(processes: Limit, tasks: int | None) -> Iterator[Finding]:
    text = f"{_words(processes.soft)} for this user, {_words(tasks)} by cgroup, threads included"
    few = min((most for most in (processes.soft, tasks) if most is not None), default=_FEW_TASKS)
    if few < _FEW_TASKS:
        advice = "raise ulimit -u, or the cgroup's pids.max (docker run --pids-limit): models start dozens of threads"
        yield Finding("processes", WARN, text, advice)
    else:
        yield Finding("processes", OK, text)


def _words(value: int | None) -> str:
    return "unlimited" if value is None else str(value)
