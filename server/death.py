"""How a host ended, in words, and how long to wait before the next one. No processes here."""

from __future__ import annotations

import signal
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from .machine.amount import size
from .machine.oom import Kills

STEADY: Final = 30.0  # a host that lived this long has proven itself: its end begins a new row
FIRST_DELAY: Final = 0.1
MOST_DELAY: Final = 30.0
# One that came to serve its models will again: its callers shall not wait long for it.
MOST_DELAY_READY: Final = 2.0
# Nor for one that others killed, which says nothing of it.
MOST_DELAY_KILLED: Final = 0.2
REFUSE_AFTER: Final = 3
REFUSE_AFTER_KILLS: Final = 10  # somebody may take it for the machine's good, and will again
_REMEMBERED: Final = 20
_CRASHES: Final = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP}
)


class Death(NamedTuple):
    """The end of one host. ``code`` as in subprocess: a signal is negative."""

    at: float
    lived: float
    pid: int
    code: int
    ready: bool  # it had come to serve, some of its models at least
    reason: str
    wanted: bool = False
    executing: Sequence[Sequence[int]] = ()  # the calls that may have been the cause
    outside: bool = False  # killed by others, and not for lack of memory
    cause: str = ""  # the reason in one word, to be counted (see `cause_of`)
    loading: Sequence[str] = ()  # models whose load may have been the cause

    def as_dict(self) -> dict[str, Any]:
        """For people; `executing` is for the hosts."""
        fields = self._asdict()
        del fields["executing"], fields["loading"]
        return fields


def reason(code: int, fatal: str, kills: Kills, peak: int) -> str:
    """Why a host ended. ``fatal`` is what it said itself, ``kills`` what was killed for memory in the last moments.

    ``peak``: its largest memory in bytes.
    """
    if code >= 0:
        return f"ended with exit code {code}: {fatal}" if fatal else f"ended by itself with exit code {code}"
    name = signal_name(-code)
    memory = f"; its memory had reached {size(peak)}" if peak else ""
    if -code == signal.SIGKILL and kills.cgroup:
        return f"killed by the kernel: the memory limit of the cgroup was reached (out of memory){memory}"
    if -code == signal.SIGKILL and kills.machine:
        return f"killed by {name} while the machine was out of memory{memory}"
    if -code in _CRASHES:
        return f"crashed with {name}{f': {fatal}' if fatal else ''}"
    return f"killed by {name}"


def cause_of(code: int, kills: Kills, *, wanted: bool, fault: bool) -> str:
    """Why a host ended, in one of few words: asked, stuck, out-of-memory, exit, or the signal's name."""
    if wanted or fault:
        return "asked" if wanted else "stuck"
    if code >= 0:
        return "exit"
    return "out-of-memory" if -code == signal.SIGKILL and any(kills) else signal_name(-code)


def unexplained(code: int, kills: Kills) -> bool:
    """Whether something that ran in the host may have been the cause: a crash, an exit, memory eaten up.

    A signal that others send (SIGTERM, and SIGKILL while nobody ran out of memory) is no sign of that.
    """
    return code >= 0 or -code in _CRASHES or (-code == signal.SIGKILL and any(kills))


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Restarts:
    """The policy: at once the first time, then ever later; and whether to refuse callers meanwhile."""

    def __init__(self) -> None:
        self.deaths: deque[Death] = deque(maxlen=_REMEMBERED)
        self.count = 0
        self.causes: Counter[str] = Counter()
        self.unready = 0  # in a row
        self._faults = 0  # of these, those that nobody else caused
        self._row = 0

    def died(self, death: Death) -> float:
        """Note a death; the seconds to wait before the next host."""
        self.deaths.append(death)
        self.count += 1
        self.causes[death.cause] += 1
        if death.wanted:
            self._row = self.unready = self._faults = 0
            return 0.0
        self._row = 1 if death.lived >= STEADY and death.ready else self._row + 1
        self.unready = 0 if death.ready else self.unready + 1
        self._faults = 0 if death.ready else self._faults + (not death.outside)
        if self._row == 1:
            return 0.0
        return min(_most_delay(death), FIRST_DELAY * 2.0 ** min(self._row - 2, 16))

    def ready(self) -> None:
        """A host came to serve its models."""
        self.unready = self._faults = 0

    @property
    def failing(self) -> bool:
        """Whether hosts end again and again before they serve: callers are told why, and not kept."""
        return self._faults >= REFUSE_AFTER or self.unready >= REFUSE_AFTER_KILLS

    @property
    def last_reason(self) -> str:
        return self.deaths[-1].reason if self.deaths else ""


def _most_delay(death: Death) -> float:
    if death.ready:
        return MOST_DELAY_KILLED if death.outside else MOST_DELAY_READY
    return MOST_DELAY_READY if death.outside else MOST_DELAY
