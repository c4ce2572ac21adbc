"""Which of a server's models is meant, where only its kind is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sharedmodel.errors import BadArgument


def of_kind(
    states: Mapping[str, Mapping[str, Any]], kind: str | Sequence[str], hint: str = "name the one that you mean"
) -> str:
    """The name of the one model of a kind, or of several that serve alike, among what `Host.models()` told.

    Raises BadArgument that names what is missing, or the several that there are and ``hint``.
    """
    kinds = (kind,) if isinstance(kind, str) else kind
    found = sorted(name for name, state in states.items() if state.get("kind") in kinds)
    if len(found) == 1:
        return found[0]
    told = " or ".join(map(repr, kinds))
    if found:
        raise BadArgument(f"several models of kind {told} are served ({', '.join(found)}): {hint}")
    served = ", ".join(f"{name} ({state.get('kind')})" for name, state in sorted(states.items()))
    raise BadArgument(f"no model of kind {told} is served; there are: {served or 'none'}")
