"""What the server's processes hold while nobody calls: the same before a storm and after it."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

from sharedmodel import segment
from sharedmodel.server.control import ask

from .cast import HOSTS, Server, children

PATIENCE = 60.0


class Holdings:
    """Descriptors, mappings, processes, names and sessions."""

    def __init__(self, server: Server) -> None:
        hosts, supervisor = server.hosts(), server.process.pid
        started = children(supervisor)
        # Each process that runs costs its supervisor these two; the quarantine's comes and goes.
        of_children = Counter({"anon_inode:[pidfd]": len(started), "socket": len(started)})
        self.descriptors = {"supervisor": descriptors(supervisor) - of_children}
        self.descriptors |= {host or "shared": descriptors(hosts[host]) for host in HOSTS if host in hosts}
        self.mapped = sum(mapped(pid) for pid in hosts.values())
        self.strangers = len(started) - len(hosts)
        self.missing = [host for host in HOSTS if host not in hosts]
        self.names = names()
        status: Any = ask(server.place.control, "status", timeout=PATIENCE)
        self.sessions = [session["pid"] for session in status["sessions"]]
        self.state = status["state"]

    def beyond(self, before: Holdings) -> list[str]:
        """What there is that was not there before."""
        found = [f"name {name}" for name in sorted(self.names - before.names)]
        found += [f"session of pid {pid}" for pid in self.sessions]
        found += [f"host {host or 'shared'} does not run" for host in self.missing]
        for who, held in self.descriptors.items():
            found += [f"{count} x {what} in {who}" for what, count in (held - before.descriptors[who]).items()]
        if self.mapped > before.mapped:
            found.append(f"{self.mapped} segments mapped, {before.mapped} before")
        if self.strangers:
            found.append(f"{self.strangers} processes that are no hosts")
        return found if self.state == "ready" else [*found, f"the server is {self.state}"]


def descriptors(pid: int) -> Counter[str]:
    """What a process has open; one socket is like another."""
    found: Counter[str] = Counter()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            found["socket" if target.startswith("socket:") else target] += 1
    return found


def mapped(pid: int) -> int:
    """How many segments of shared memory a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return sum(segment.PREFIX in line for line in lines)


def resident(pid: int) -> int:
    """Its resident memory in bytes."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def names() -> set[str]:
    """Our names in /dev/shm."""
    return {name for name in os.listdir(segment.DIRECTORY) if name.startswith(segment.PREFIX)}
