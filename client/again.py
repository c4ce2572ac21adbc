"""What is asked of a host that may die over it: asked again of the next one, where nothing is lost by that.

A host may die at any moment, also while a session with it begins; while there is none, its callers wait in
the backlog of the socket that its supervisor holds. So trying again costs no more than the next host's start.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from sharedmodel import deadlines
from sharedmodel.errors import DeadlineExceeded, HostLost, HostUnavailable
from sharedmodel.session import Session
from sharedmodel.sessions import SESSIONS
from sharedmodel.tensor import Array

from .instances import Instances
from .replay import Question, Replay

DIRECTORY: Final = "#models"
TRIES: Final = 100  # should hosts die without end
_LOOK_AGAIN: Final = 0.5  # seconds, at first, until one of several hosts is asked that came back meanwhile
Where = str | Instances
Made = TypeVar("Made")


def address_of(where: Where) -> str:
    """Where to call now."""
    return where if isinstance(where, str) else where.pick()


def addresses_of(where: Where) -> list[str]:
    """All that serve a model."""
    return [where] if isinstance(where, str) else where.addresses


def directory_of(where: Where) -> str:
    """Where the server's directory is asked for a model's fate."""
    return where if isinstance(where, str) else where.directory


def again(make: Callable[[], Made]) -> Made:
    """What ``make`` makes with a host, made again with the next where that one died over it.

    Raises HostUnavailable where there is none and none will be, and whatever ``make`` does.
    """
    for _ in range(TRIES):
        try:
            return make()
        except HostUnavailable:
            raise
        except HostLost:
            pass
    return make()


def reach(where: Where, timeout: float | None = None) -> Session:
    """The session with the host at an address or with the next one there; with one of several if there are."""
    end = deadlines.after(timeout)
    return again(lambda: _session(where, end))


def _session(where: Where, end: float | None) -> Session:
    if isinstance(where, str) or len(where.addresses) == 1:
        return SESSIONS.current(address_of(where), deadlines.left(end))
    for patience in looks(deadlines.left(end)):
        try:
            return SESSIONS.current(where.pick(), patience)
        except (DeadlineExceeded, HostUnavailable) as exc:
            if isinstance(exc, HostUnavailable) and exc.errno != errno.EAGAIN:
                raise
    return SESSIONS.current(where.pick(), deadlines.left(end))


def looks(left: float | None) -> Iterator[float]:
    """For how long to wait for one of several hosts, time after time: another may be there before it is.

    ``left``: the seconds that there are for all of it.
    """
    patience, spent = _LOOK_AGAIN, 0.0
    while left is None or spent + patience < left:
        yield patience
        spent += patience
        patience *= 2  # each leaves a dead connection in a backlog


def asked(where: Where, ident: Any, method: str, *args: Any, timeout: float | None = None) -> Any:
    """A question to a server, which may be asked again."""
    end = deadlines.after(timeout)
    return again(lambda: _session(where, end).call(ident, method, args, {}, deadlines.left(end)))


def empty(where: Where, shape: Any, dtype: Any, order: Any) -> Array:
    """An array in shared memory, or a plain one where there is none to be had."""
    import numpy as np

    array = again(lambda: _session(where, None).empty(shape, dtype, order))
    return np.empty(shape, dtype, order) if array is None else array


def replayed(
    where: Where,
    call: Callable[[Session, float | None], Any],
    replay: Replay,
    end: float | None,
    question: Question | None = None,
) -> Any:
    """A call, sent again where its host died and `Replay` allows it.

    ``call`` gets the session and the seconds that are left until ``end``. ``question`` is what is to be asked
    about a first attempt, which was made already.
    """
    while True:
        if question is not None:
            replay.told(asked(directory_of(where), DIRECTORY, "verdict", *question, timeout=deadlines.left(end)))
            if replay.quarantine is not None:
                SESSIONS.follow(replay.quarantine, directory_of(where))
        session = again(lambda: _session(replay.quarantine or where, end))
        try:
            return call(session, deadlines.left(end))
        except HostLost as exc:
            question = replay.lost(exc, session.welcome)
