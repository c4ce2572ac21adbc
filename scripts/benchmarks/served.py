"""The object that is called, served by either manager."""

from __future__ import annotations

import multiprocessing.managers
from typing import Any

import numpy as np

from sharedmodel import manager, reply


class Subject:
    """Methods that cost nothing, so that what is measured is the service."""

    def noop(self) -> None:
        """Nothing there, nothing back."""

    def echo(self, x: Any) -> Any:
        """There and back."""
        return x

    def take(self, x: Any) -> None:
        """There."""

    def swap(self, x: Any) -> Any:
        """An array there, another of its size back, left as it lies in shared memory."""
        return reply.empty(x.shape, x.dtype)


class Ours(manager.ModelManager):
    """sharedmodel."""


class Theirs(multiprocessing.managers.BaseManager):
    """The yardstick: pickle over a Unix socket."""


Ours.register("Subject", Subject)
Theirs.register("Subject", Subject)

KEY = b"benchmark"


def array(nbytes: int) -> Any:
    """An ordinary array with its pages touched."""
    return np.ones(nbytes, "u1")
