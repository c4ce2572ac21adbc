"""What a supervisor hands to the host it starts: on standard input, as a file without a name."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NamedTuple

from .settings import Settings


class Boot(NamedTuple):
    """Descriptors are inherited under the numbers given here."""

    listener: int
    lifeline: int
    supervisor: int
    directory: str
    settings: Settings
    name: str  # see `layout`
    elsewhere: dict[str, Any]  # the models of other hosts
    cell: int | None  # its place on the board
    journal: int
    neighbours: int  # see `machine.neighbours`
    number: int  # of this host there
    deaths: list[list[Any]]  # see `suspects`
    # What a supervisor that was started before these files were installed does not know.
    barred: dict[str, list[Any]] = {}  # noqa: RUF012  see `loads`; never changed
    tether: int = -1  # see `tether`

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the host inherits besides its standard streams."""
        given = self.listener, self.lifeline, self.journal, self.neighbours, self.tether
        return tuple(fd for fd in given if fd >= 0)

    def to_file(self) -> int:
        """A descriptor to read it from."""
        fields = self._asdict() | {"settings": self.settings.to_json()}
        return text_file("sharedmodel-boot", json.dumps(fields))

    @classmethod
    def from_stdin(cls) -> Boot:
        """Take it, and leave nothing on standard input for a model to read."""
        fields = json.load(sys.stdin)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        return cls(**fields | {"settings": Settings.from_json(fields["settings"])})


def text_file(name: str, text: str) -> int:
    """A file in memory, at its beginning, for a process about to be started."""
    fd = os.memfd_create(name)
    os.write(fd, text.encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
