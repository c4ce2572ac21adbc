"""An object of a library for each call, with the threads that there are for it.

    wide     for a call that is alone: all the threads of the model work at it
    narrow   for calls beside one another: one thread each, which then never wait for another

The narrow one is made when it is first wanted, or before; its weights take memory a second time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

logger = logging.getLogger("sharedmodel.host")


class Widths(Generic[T]):
    """Both of them. Any thread may `enter`, and must `leave` then.

    make     makes one, with so many threads for each of its runs
    threads  of the wide one
    crowd    calls at once from which on each has one thread; None: they share the wide one, however many
    lasting  seconds for which a crowd is still one when calls have left it: callers come with their next ones
    clock    seconds, as `time.monotonic` has them

    Raises what ``make`` raises.
    """

    def __init__(
        self,
        make: Callable[[int], T],
        threads: int,
        crowd: int | None = 2,
        lasting: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._crowd = crowd
        self._lasting = lasting
        self._clock = clock
        self._dispersed = float("-inf")  # when a call last left a crowd
        self._inside: list[None] = []  # as many as there are calls; a list counts without a lock
        self._making = threading.Lock()
        self._closed = False
        self._wide: T | None = make(threads)
        self._narrow = self._wide if threads == 1 else None

    @property
    def wide(self) -> T:
        """Raises RuntimeError once it is closed."""
        return _open(self._wide)

    def made(self) -> list[T]:
        """Those that there are."""
        return [each for each in {id(each): each for each in (self._wide, self._narrow)}.values() if each is not None]

    def prepare(self) -> None:
        """Make the narrow one now, where there is to be one, and keep nothing to make another from.

        Raises what ``make`` raises.
        """
        if self._crowd is not None and self._narrow is None:
            self._narrow = self._make(1)
        del self._make

    def enter(self, *, alone: bool = False) -> T:
        """The one for a call, until it leaves: the wide one for one that is to run as if it were ``alone``.

        Raises RuntimeError once it is closed; it has not entered then.
        """
        self._inside.append(None)
        try:
            return _open(self._narrowed() if self._crowded() and not alone else self._wide)
        except BaseException:
            self._inside.pop()
            raise

    def leave(self) -> None:
        if self._crowd is not None and len(self._inside) >= self._crowd:
            self._dispersed = self._clock()
        self._inside.pop()

    def close(self) -> None:
        """Lets them go. Calls that are running keep theirs until they are done."""
        self._closed = True
        self._wide = self._narrow = None

    def _crowded(self) -> bool:
        """Whether this call, which has entered, is one of a crowd."""
        if self._crowd is None:
            return False
        return len(self._inside) >= self._crowd or self._clock() - self._dispersed < self._lasting

    def _narrowed(self) -> T | None:
        if self._narrow is not None:
            return self._narrow
        with self._making:
            if self._narrow is None and not self._closed:
                try:
                    made: T | None = self._make(1)
                except Exception:  # no memory, no descriptors, a file that is gone: the first one serves all
                    logger.warning("calls beside one another share their threads: no second object", exc_info=True)
                    made = self._wide
                self._narrow = made
                if self._closed:  # meanwhile, or while it was made
                    self._narrow = None
            return self._narrow


def _open(found: T | None) -> T:
    if found is None:
        raise RuntimeError("this model is closed")
    return found
