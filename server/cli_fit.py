"""Tables on a screen that is too small for them: who gets how many lines, and which columns stay.

    lines    each table has its share; what one does not need is the others'; what is cut is said ("… 9 more")
    columns  names keep some characters; for that columns go, the least important first

Where the height is no matter (a file, a pipe, `top --once`) every row is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.text import Text

from .cli_console import dense, line, table

LEAST: Final = 16  # characters that a name keeps
_GAP: Final = 2


class Listing(NamedTuple):
    """A table, before it is known how much room there is. ``cut``: the column that is shortened; ``spare``: those that
    go, in this order; ``notes``: lines below it. ``folds``: where there is height for it, nothing is shortened."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Any]]
    right: Sequence[str]
    cut: str
    spare: Sequence[str]
    notes: Sequence[Text] = ()
    folds: bool = False

    @property
    def lines(self) -> int:
        """How many it would like, its head not counted."""
        return len(self.rows) + len(self.notes)

    def within(self, width: int, most: int | None) -> RenderableType:
        """In so many columns and lines, its head not counted."""
        if most is None and self.folds:
            return table(self.headings, self.rows, self.right)
        rows, notes = self._shown(self.lines if most is None else most)
        left_out = self.lines - len(rows) - len(notes)
        more = [line(f"… {left_out} more", style="dim")] if left_out else []
        first = self.headings[0]
        if more and most == 1:  # one row is worth more than a line about it
            first, more = f"{first} 1/{self.lines}", []
        named = [first, *self.headings[1:]]
        kept = self._columns(width, named)
        chosen = [[row[index] for index in kept] for row in rows]
        cut = named[self.headings.index(self.cut)]
        return Group(dense([named[index] for index in kept], chosen, right=self.right, cut=(cut,)), *notes, *more)

    def _shown(self, most: int) -> tuple[Sequence[Sequence[Any]], Sequence[Text]]:
        if self.lines <= most:
            return self.rows, self.notes
        notes = self.notes[: (most - 1) // 2]
        return self.rows[: max(1, most - 1 - len(notes))], notes

    def _columns(self, width: int, named: Sequence[str]) -> list[int]:
        widths = [max(map(_width, column)) for column in zip(named, *self.rows, strict=True)]
        cut = self.headings.index(self.cut)
        widths[cut] = min(widths[cut], LEAST)
        kept = list(range(len(widths)))
        for heading in self.spare:
            if sum(widths[index] + _GAP for index in kept) - _GAP <= width:
                break
            kept.remove(self.headings.index(heading))
        return kept


class Fitted:
    """Lines, and tables below them with a blank line before each."""

    def __init__(self, head: Sequence[Text], listings: Sequence[Listing], height: int | None = None) -> None:
        self._head = head
        self._listings = listings
        self._height = height  # by itself: a live screen of rich's does not hand it down

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield from self._head
        listings = list(self._listings)
        if self._height is None:
            shares: list[int | None] = [None] * len(listings)
            blank = True
        else:
            room = self._height - len(self._head) - len(listings)
            blank = room - len(listings) >= sum(min(listing.lines, 3) for listing in listings)
            shares = [*shared([listing.lines for listing in listings], room - blank * len(listings))]
        for listing, share in zip(listings, shares, strict=True):
            if blank:
                yield Text()
            yield listing.within(options.max_width, share)


def shared(wanted: Sequence[int], room: int) -> list[int]:
    """How many lines each gets, of so many: as many as it wants, or as many as any other."""
    found = [0] * len(wanted)
    for done, index in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        found[index] = min(wanted[index], max(1, room // (len(wanted) - done)))
        room -= found[index]
    return found


def _width(cell: Any) -> int:
    return cell_len(str(cell))
