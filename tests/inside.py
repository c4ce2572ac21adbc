"""A host in the test's own process, whose insides a test may hold still, and sessions with it.

The fixtures `service` and `session` (see `conftest`) are one of each.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sharedmodel import link
from sharedmodel.crossing import load_in_client, proxy_bytes
from sharedmodel.objects import Objects, Registration
from sharedmodel.service import Service
from sharedmodel.session import Session

from .crowd import until
from .probe import Item, Probe

PATIENCE = 100.0


@contextmanager
def serving(directory: str, name: str = "host.sock", **models: Any) -> Iterator[Service]:
    """A host in this process, whose insides a test may hold still."""
    objects = Objects({"Item": Registration(Item)})
    for each, model in {"probe": Probe(), **models}.items():
        objects.publish(each, model)
    service = Service(link.listen(os.path.join(directory, name)), objects)
    service.start()
    try:
        yield service
    finally:
        service.close()
        until(lambda: not any(peer.sock.fileno() >= 0 for peer in service.peers.values()))
        os.close(service.watched.bell)


@contextmanager
def session_with(service: Service, **options: Any) -> Iterator[Session]:
    address = service.address
    session = Session(address, timeout=PATIENCE, proxy=proxy_bytes, load=load_in_client(address), **options)
    try:
        yield session
    finally:
        session.close()


def call(session: Session, method: str, *args: Any, on: str = "probe") -> Any:
    return session.call(on, method, args, {}, PATIENCE)


def in_thread(task: Callable[[], Any]) -> Callable[[], Any]:
    """Runs a task beside the test; what is returned waits for its result."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(task()), daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(PATIENCE)
        assert results, "it does not come back"
        return results[0]

    return result


def error_of(task: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as caught:
        task()
    return caught.value
