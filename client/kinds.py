"""Which of a server's models is meant, where only its kind is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sharedmodel.errors import BadArgument


def of_kind(states: Mapping[str, Mapping[str, Any]], kind: str, hint: str = "name the one that you mean") -> str:
    """The name of the one model of a kind, among what `Host.models()` told.

    Raises BadArgument that names what is missing, or the several that there are and ``hint``.
    """
    found = sorted(name for name, state in states.items() if state.get("kind") == kind)
    if len(found) == 1:
        return found[0]
    if found:
        raise BadArgument(f"several models of kind {kind!r} are served ({', '.join(found)}): {hint}")
    served = ", ".join(f"{name} ({state.get('kind')})" for name, state in sorted(states.items()))
    raise BadArgument(f"no model of kind {kind!r} is served; there are: {served or 'none'}")
