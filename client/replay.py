"""What becomes of a call whose host died over it: pure, no sockets.

    it had not left yet                           again, at once
    its method may not run twice                  HostLost
    the host died of something else               again
    it was executing, and may have been the cause in quarantine: alone, in a host of its own
    the same, and others killed the host          again, and after a few times in quarantine
    it ended that one as well                     Poisonous

Which of these it is, the server's directory knows (`verdict`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sharedmodel.errors import HostLost, Poisonous

MOST: Final = 100  # times a call is sent again, should hosts die without end
# Hosts that others may kill while it executes before it is suspected, and again before it is refused: whoever kills
# what takes too much memory is such another, and kills for what the call does.
KILLED: Final = 3

Question = tuple[int, int, int]


class Replay:
    """The fate of one call."""

    def __init__(self, what: str, idempotent: bool) -> None:
        self.quarantine: str | None = None
        self._what = what
        self.idempotent = idempotent
        # A session whose host died while nobody called is noticed by the next call only, and a host that ends in good
        # order says what it has not begun; but one session after the other may end over what is wrong with the call.
        self._idle = 3
        self._left = MOST
        self._killed = 0  # hosts that others killed while it was executing
        self._times = 0  # hosts that died while it was

    def lost(self, exc: HostLost, welcome: Mapping[str, Any]) -> Question | None:
        """What to ask the directory, or None to send the call again at once. Raises ``exc`` where neither may be."""
        if not exc.begun and self._idle:
            self._idle -= 1
            return None
        if not self.idempotent or not self._left:
            try:
                raise exc
            finally:
                del exc  # or it, its traceback and this frame keep one another alive, and the call's arguments
        self._left -= 1
        if "session" not in welcome:
            return None
        return welcome["pid"], welcome["session"], exc.request

    def told(self, verdict: Mapping[str, Any] | None) -> None:
        """The directory's answer. Raises Poisonous for a call that has ended the quarantine's host too."""
        if verdict is None:
            return
        self._times += 1
        if verdict.get("outside"):
            self._killed += 1
            if self._killed <= KILLED:
                return
        if self.quarantine is not None:
            times = "twice, the second time" if self._times == 2 else f"{self._times} times, at last"
            raise Poisonous(
                f"{self._what} ended its host {times} running alone in a host of its own ({verdict['reason']}); "
                "it is not tried again"
            )
        self.quarantine, self._killed = verdict["address"], 0
