"""What the examination of a machine found: each finding is about one thing and says what to do about it.

ok     fine
warn   works, but not as well as it could, or not for everything
fail   the server can't work like this
"""

from __future__ import annotations

from typing import Final, NamedTuple

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"


class Finding(NamedTuple):
    """One line of the report; ``advice`` says what to do."""

    what: str
    verdict: str
    text: str
    advice: str = ""
