"""The thread plan: processors divided over models, and how libraries are told of it. Pure.

Each library by itself takes every processor of the machine for each of its models: eight sessions on
eight processors are 64 threads that push one another aside, and more still in a container, whose quota
most of them can't see.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sharedmodel.errors import BadArgument

_COUNTS: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
)
# A thread that waits by spinning takes its processor from the other models and from the clients.
_PATIENT: Final = MappingProxyType({"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"})


class Share(NamedTuple):
    """What a model asks for: its instances, what each weighs beside those of others, or its threads outright."""

    name: str
    instances: int = 1
    weight: float = 1.0
    threads: int | None = None


class Plan(NamedTuple):
    """Threads of each instance, by model. ``spinning``: whether idle threads may burn a processor."""

    cores: int
    threads: Mapping[str, int]
    spinning: bool = False

    def onnxruntime(self, name: str) -> dict[str, Any]:
        """What to set on a model's SessionOptions: attributes, and under "entries" session entries."""
        spin = str(int(self.spinning))
        entries = {"session.intra_op.allow_spinning": spin, "session.inter_op.allow_spinning": spin}
        return {"intra_op_num_threads": self.threads[name], "inter_op_num_threads": 1, "entries": entries}

    def environment(self, names: Iterable[str]) -> dict[str, str]:
        """What a process that holds these models must find in its environment before it imports a library.

        One setting serves all models of the process: that of the largest of them. For libraries that can be
        told for each model, this is only the fallback.
        """
        return environment(max((self.threads[name] for name in names), default=1), spinning=self.spinning)


def environment(threads: int, *, spinning: bool = False) -> dict[str, str]:
    """The variables by which libraries are told how many threads to use, and how to wait."""
    quiet = {} if spinning else _PATIENT
    return {**dict.fromkeys(_COUNTS, str(threads)), **quiet, "TOKENIZERS_PARALLELISM": "false"}


def plan(cores: int, shares: Sequence[Share], *, at_once: int | None = None, alone: bool = False) -> Plan:
    """Divide the processors. Every instance gets one thread at least, an only one gets them all.

    at_once   how many instances are busy at the same time at most, where that is known to be fewer than
              there are: any so many of them together don't ask for more than there is. None: all of them
    alone     nothing else runs on these processors, clients included: a single instance's threads may spin

    Threads that were configured are left as they are, and the others share what remains. Raises BadArgument.
    """
    _check(cores, shares, at_once)
    busy = min(at_once or math.inf, sum(share.instances for share in shares))
    threads = _divided(cores, shares, busy)
    single = sum(share.instances for share in shares) == 1
    return Plan(cores, MappingProxyType({share.name: threads[share.name] for share in shares}), alone and single)


def _divided(cores: int, shares: Sequence[Share], busy: float) -> dict[str, int]:
    fixed = {share.name: share.threads for share in shares if share.threads is not None}
    while True:
        left = max(0, cores - _largest(fixed, shares, busy))
        exact = _exact(left, [share for share in shares if share.name not in fixed], busy)
        small = [name for name, part in exact.items() if part < 1]
        if not small:
            return fixed | _whole(left, exact, shares, busy)
        # The least there is; what it is more than their part, the others have less.
        fixed |= dict.fromkeys(small, 1)


def _exact(left: int, shares: Sequence[Share], busy: float) -> dict[str, Fraction]:
    weights = {share.name: Fraction(share.weight) for share in shares}
    whole = _largest(weights, shares, busy)
    return {name: left * weight / whole for name, weight in weights.items()}


def _whole(left: int, exact: Mapping[str, Fraction], shares: Sequence[Share], busy: float) -> dict[str, int]:
    threads = {name: math.floor(part) for name, part in exact.items()}
    # What rounding down left over goes where it cost most, as long as it is there.
    for name in sorted(threads, key=lambda name: threads[name] - exact[name]):
        more = threads | {name: threads[name] + 1}
        if _largest(more, shares, busy) <= left:
            threads = more
    return threads


def _largest(of: Mapping[str, Any], shares: Sequence[Share], busy: float) -> Any:
    """The sum over those instances that ask for most, no more of them than are ever busy at once."""
    counts = {share.name: share.instances for share in shares}
    total: Any = 0
    for name, value in sorted(of.items(), key=lambda item: item[1], reverse=True):
        taken = min(counts[name], busy)
        total, busy = total + value * int(taken), busy - taken
    return total


def _check(cores: int, shares: Sequence[Share], at_once: int | None) -> None:
    names = [share.name for share in shares]
    if len(set(names)) != len(names):
        raise BadArgument(f"a model is planned for once: {', '.join(names)}")
    numbers = {"cores": cores, "at_once": at_once}
    for share in shares:
        numbers |= {f"{share.name}.instances": share.instances, f"{share.name}.threads": share.threads}
        if not (math.isfinite(share.weight) and share.weight > 0):
            raise BadArgument(f"{share.name}.weight is {share.weight}; it is a number above 0")
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise BadArgument(f"{name} is {number}; it is 1 or more")
