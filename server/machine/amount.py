"""Bytes as people write and read them."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = ("B", "KB", "MB", "GB", "TB")
_MOST: Final = 1 << 63
_WRITTEN: Final = re.compile(r"(\d+(?:\.\d+)?) *((?:[kmgt]i?)?b?)", re.IGNORECASE)
_FACTORS: Final = {"": 1} | {
    f"{prefix}{i}": (1024 if i else 1000) ** power for power, prefix in enumerate("kmgt", 1) for i in ("", "i")
}


def size(count: float) -> str:
    """17 MB."""
    for unit in _UNITS:
        if abs(count) < 1000 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"


def parsed(value: int | str) -> int:
    """Bytes from a number or a text such as "4 GiB". Raises ValueError, also for none and for more than 63 bits."""
    found = _WRITTEN.fullmatch(str(value).strip())
    count = 0.0 if found is None else float(found[1]) * _FACTORS[found[2].lower().removesuffix("b")]
    if not 1 <= count < _MOST:
        raise ValueError('it is a number of bytes, or a text such as "512 MB" or "4 GiB"')
    return int(count)
