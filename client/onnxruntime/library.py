"""onnxruntime's functions that are about no session: asked of the host, or harmless."""

from __future__ import annotations

import functools
from importlib import metadata
from typing import Any

from sharedmodel.client.backing import about


@functools.cache
def _about() -> dict[str, Any]:
    return about("onnx")


def version() -> str:
    """The version of onnxruntime that is installed here, else the host's."""
    try:
        return metadata.version("onnxruntime")
    except metadata.PackageNotFoundError:
        return str(_about()["version"])


def get_version_string() -> str:
    """The version of onnxruntime in the host."""
    return str(_about()["version"])


def get_build_info() -> str:
    """How onnxruntime in the host was built."""
    return str(_about()["build_info"])


def get_available_providers() -> list[str]:
    """The execution providers that the host has."""
    return list(_about()["available_providers"])


def get_all_providers() -> list[str]:
    """The execution providers that onnxruntime knows of."""
    return list(_about()["all_providers"])


def get_device() -> str:
    """What onnxruntime in the host was built for: "CPU", "GPU" …"""
    return str(_about()["device"])


def set_default_logger_severity(severity: int) -> None:
    """Without effect: the log is the host's. Raises RuntimeError for a level that there is not."""
    if not 0 <= severity <= 4:
        raise RuntimeError("Invalid logging severity. 0:Verbose, 1:Info, 2:Warning, 3:Error, 4:Fatal")


def set_default_logger_verbosity(verbosity: int) -> None:
    """Without effect: the log is the host's."""


def set_seed(seed: int) -> None:
    """Not carried."""
    from sharedmodel.client.refusing import refuse

    refuse("set_seed", "the generator of random numbers is shared by all users of the host")


def disable_telemetry_events() -> None:
    """Without effect: the host sends none."""


def enable_telemetry_events() -> None:
    """Without effect: the host sends none."""
