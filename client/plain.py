"""A constructor's arguments as plain data, which is what names a model to a host."""

from __future__ import annotations

import enum
import json
from typing import Any

from .refusing import refuse


def plain(what: str, value: Any) -> Any:
    """A value as a configuration can hold it. ``what`` names it: "CnOcr(context=...)".

    Raises NotImplementedError for one that it can't.
    """
    if isinstance(value, enum.Enum):
        value = value.value
    elif isinstance(value, set | frozenset):
        value = sorted(value)
    try:
        json.dumps(value)
    except (TypeError, ValueError) as exc:
        refuse(f"{what} with this value", f"only plain values go to the host ({exc})")
    return value
