"""The table that is printed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Row(NamedTuple):
    """One bar: what was measured, what was asked for, what came out, and whether that is enough."""

    what: str
    bar: str
    measured: str
    reached: bool


def show(title: str, rows: Iterable[Row]) -> None:
    """Print rows as a table."""
    table = Table(title=title, title_justify="left")
    for heading in ("what", "bar", "measured", ""):
        table.add_column(heading)
    for row in rows:
        table.add_row(row.what, row.bar, row.measured, "[green]yes[/]" if row.reached else "[red]NO[/]")
    Console().print(table)
