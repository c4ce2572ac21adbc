"""How a call came out, as its caller knows it: what is made after its deadline, or for nobody, is no result."""

from __future__ import annotations

from typing import Final

from sharedmodel.call import Call
from sharedmodel.errors import Cancelled, DeadlineExceeded

from .stages import OK

# The caller's deadline began before its frame was taken, so that it gives up a little before the one we know.
_AHEAD: Final = 0.1


def outcome_of(call: Call, now: float) -> str:
    """Of a call that ended at ``now``: OK, or the code of an error."""
    if call.condemned is not None or (not call.began and call.outcome not in ("", Cancelled.code)):
        return call.outcome or OK  # it was told to stop by its host; or refused
    if call.deadline is not None and now > call.deadline - (_AHEAD if call.cancelled else 0.0):
        return DeadlineExceeded.code
    return Cancelled.code if call.cancelled or not call.began else call.outcome or OK
