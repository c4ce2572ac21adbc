"""Which libraries are installed in this host."""

from __future__ import annotations

from importlib import metadata


def versions(*names: str) -> dict[str, str | None]:
    """The version of each; None for one that is not there."""
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    for package in (name, f"{name}-gpu"):  # onnxruntime's build for GPUs is a package of its own
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            pass
    return None
