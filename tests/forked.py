"""A fork with both processes in step, and told apart."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator


class Both:
    """The two processes after a fork, in step with one another."""

    def __init__(self) -> None:
        self._mine, self._other = os.pipe(), os.pipe()
        self.child = os.fork()
        self.name = "child" if self.child == 0 else "parent"
        if self.child == 0:
            self._mine, self._other = self._other, self._mine
        # An end that both hold would never tell of the other's death.
        os.close(self._mine[0])
        os.close(self._other[1])

    def meet(self) -> None:
        """Until the other is here as well."""
        os.write(self._mine[1], b".")
        assert os.read(self._other[0], 1), "the other process is gone"

    def ends(self) -> int:
        """Wait for the child's end; how it went."""
        os.close(self._mine[1])
        os.close(self._other[0])
        return os.waitpid(self.child, 0)[1]

    @property
    def in_child(self) -> bool:
        return self.child == 0


@contextlib.contextmanager
def forked() -> Iterator[Both]:
    """Both processes run the block; it ends in the parent when it has gone well in both."""
    both = Both()
    try:
        yield both
    except BaseException:
        traceback.print_exc()
        if both.in_child:
            os._exit(1)
        raise
    if both.in_child:
        os._exit(0)
    assert both.ends() == 0, "it went wrong in the child"
