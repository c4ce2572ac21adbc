"""File trees as a kernel would show them: /proc and /sys/fs/cgroup of one process, of either version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

GB: Final = 1 << 30
_CGROUP: Final = "sys/fs/cgroup"


class Tree:
    """A root folder; `str` is its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.put("proc/meminfo", f"MemTotal: {16 * GB // 1024} kB\nMemFree: 1 kB\nMemAvailable: {8 * GB // 1024} kB\n")

    def __str__(self) -> str:
        return str(self.folder)

    def put(self, path: str, text: object) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def limits(self, **rows: tuple[str, str]) -> None:
        lines = ["Limit                     Soft Limit           Hard Limit           Units     "]
        lines += [f"{name.replace('_', ' '):<25} {soft:<20} {hard:<20} things " for name, (soft, hard) in rows.items()]
        self.put("proc/self/limits", "\n".join(lines))

    def shm(self, kind: str) -> None:
        (self.folder / "dev/shm").mkdir(parents=True, exist_ok=True)
        self.put("proc/mounts", f"proc /proc proc rw 0 0\n{kind} /dev/shm {kind} rw 0 0")


class Version2(Tree):
    """One unified hierarchy; the process is in ``group``."""

    def __init__(self, folder: Path, group: str = "/pod/job", top: str = "/") -> None:
        super().__init__(folder)
        self.put("proc/self/cgroup", f"0::{group}")
        self.put("proc/self/mountinfo", f"31 23 0:28 {top} /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw")

    def group(self, path: str, files: Mapping[str, object]) -> None:
        for name, text in files.items():
            self.put(f"{_CGROUP}{path.rstrip('/')}/{name}", text)


class Version1(Tree):
    """A hierarchy for each controller, an empty one of version 2 beside them; the process is in ``group``."""

    def __init__(self, folder: Path, group: str = "/pod/job", top: str = "/") -> None:
        super().__init__(folder)
        self.put("proc/self/cgroup", f"9:name=systemd:{group}\n4:memory:{group}\n2:cpu,cpuacct:{group}\n0::/")
        mounts = [f"32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"]
        mounts += [f"35 31 0:32 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"]
        mounts += [f"41 31 0:38 {top} /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"]
        self.put("proc/self/mountinfo", "\n".join(mounts))

    def group(self, controllers: str, path: str, files: Mapping[str, object]) -> None:
        for name, text in files.items():
            self.put(f"{_CGROUP}/{controllers}{path.rstrip('/')}/{name}", text)
