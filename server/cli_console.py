"""How the commands print: rich on a terminal, plain and unbroken lines into a file or pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE: Final = 4000
_COLOURS: Final = {"ready": "green", "failed": "red", "failing": "red", "unresponsive": "red", "waiting": "red"}


def console() -> Console:
    """For standard output."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=_WIDE, no_color=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = ()) -> Table:
    """A table without frames; ``right`` names the columns of numbers."""
    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    for heading in headings:
        made.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return made


def dense(headings: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str], cut: Sequence[str]) -> Table:
    """A table with one line for each row: where there is no room for all, the columns ``cut`` are cut short."""
    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        made.add_column(heading, justify="right" if heading in right else "left", no_wrap=heading not in cut)
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else line(cell) for cell in row))
    return made


def line(cell: Any, style: str = "") -> Text:
    """A text that is cut short rather than wrapped."""
    return Text(str(cell), style=style, no_wrap=True, overflow="ellipsis")


def framed(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table with a rule below its head, for results."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


def print_json(value: Any) -> None:
    """JSON as programs like it: one document, its characters as they are where standard output has them."""
    print(_json(value, indent=2))


def print_json_line(value: Any) -> None:
    """JSON on one line, at once: for what comes one by one."""
    print(_json(value), flush=True)


def _json(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


def colour_of(state: str) -> str:
    """How a state looks: green is well, red wants somebody, yellow passes."""
    return _COLOURS.get(state, "yellow")


def duration(seconds: float) -> str:
    """A time span for people: 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
