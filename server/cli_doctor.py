"""`sharedmodel doctor` and `sharedmodel gc`: what was found, and what was removed."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from .cli_console import console, print_json, table
from .finding import FAIL, OK, WARN, Finding
from .janitor import Litter
from .machine.amount import size

_COLOURS: Final = {OK: "green", WARN: "yellow", FAIL: "bold red"}


def show(found: list[Finding], as_json: bool) -> bool:
    """Print the findings; whether none of them is a failure."""
    good = all(finding.verdict != FAIL for finding in found)
    if as_json:
        print_json({"ok": good, "findings": [finding._asdict() for finding in found]})
        return good
    out = console()
    width = max(len(finding.what) for finding in found)
    for finding in found:
        line = Text.assemble((f"{finding.verdict:<6}", _COLOURS[finding.verdict]), f"{finding.what:<{width}}  ")
        out.print(line.append(finding.text))
        if finding.advice and finding.verdict != OK:
            out.print(Text(" " * (width + 8) + "→ " + finding.advice, style="bold"))
    out.print(Text(_summary(found), style=_COLOURS[FAIL if not good else OK]))
    return good


def _summary(found: list[Finding]) -> str:
    counts = {verdict: sum(finding.verdict == verdict for finding in found) for verdict in (FAIL, WARN)}
    if not any(counts.values()):
        return "All is well."
    return f"{counts[FAIL]} to mend, {counts[WARN]} to consider."


def show_removed(removed: list[Litter], as_json: bool) -> None:
    """Print what was removed."""
    if as_json:
        print_json([litter._asdict() for litter in removed])
    elif not removed:
        print("nothing to remove")
    else:
        rows = [(litter.path, size(litter.size) if litter.size else "", litter.why) for litter in removed]
        console().print(table(("REMOVED", "SIZE", "WHY"), rows, right=("SIZE",)))
