"""How many processors may really be used: by affinity, and by the quotas of the control groups."""

from __future__ import annotations

import math
import os
from typing import NamedTuple

from .cgroup import Group, groups


class Cores(NamedTuple):
    """machine: online; allowed: by affinity; quota: processors' worth of time, None without a limit."""

    machine: int
    allowed: int
    quota: float | None

    @property
    def usable(self) -> int:
        """Threads that can run at once. A part of a processor counts as one, as it does for Java and Go."""
        return max(1, min(self.allowed, self.allowed if self.quota is None else math.ceil(self.quota)))


def cores(root: str = "/", allowed: int | None = None) -> Cores:
    """The processors now. ``allowed``: by affinity, asked of the kernel where it is not given."""
    quotas = [quota for group in groups("cpu", root) if (quota := _quota(group)) is not None]
    own = allowed or len(os.sched_getaffinity(0))
    return Cores(max(own, os.cpu_count() or 1), own, min(quotas, default=None))


def _quota(group: Group) -> float | None:
    if group.version == 2:
        quota, _, period = (group.read("cpu.max") or "").strip().partition(" ")
    else:
        quota, period = ((group.read(f"cpu.cfs_{name}_us") or "").strip() for name in ("quota", "period"))
    # "max" and -1 stand for no limit.
    if not quota.isdecimal() or not period.isdecimal() or not int(period):
        return None
    return int(quota) / int(period)
