"""Which libraries are installed in this host."""

from __future__ import annotations

from importlib import metadata


def versions(*names: str) -> dict[str, str | None]:
    """The version of each; None for one that is not there."""
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
