"""What a host keeps for handles: leases on a clock of the test's own, who may open, how much there may be."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np
import pytest

from sharedmodel import segment
from sharedmodel.errors import Expired, Overloaded
from sharedmodel.handle import HANDLE, HANDLES, Handle
from sharedmodel.server.report import is_busy
from sharedmodel.service import Service
from sharedmodel.session import Session
from sharedmodel.sessions import SESSIONS
from sharedmodel.stored import Handles

from .servers import until

MOST = 1 << 20


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(service: Service) -> Iterator[Clock]:
    """Of the handles that the service keeps."""
    clock = Clock()
    handles = Handles(service.objects, MOST, clock)
    service.objects.publish(HANDLES, handles, exposed=("open", "put", "renew", "sweep"))
    yield clock
    handles.close()


def current(service: Service) -> Session:
    return SESSIONS.current(service.address)


def put(service: Service, lease: float) -> Handle:
    """A handle that nobody holds."""
    return Handle.of(list(Handle.put(current(service), np.ones(1000), lease).fields))


def test_a_lease_ends_when_its_time_has_come_and_not_before(clock: Clock, service: Service) -> None:
    handle = put(service, 10)
    clock.now += 9.9
    other = put(service, 10)
    handle.renew()
    clock.now += 9.9
    handle.renew()
    clock.now += 9.9
    assert (handle.open() == 1).all()
    with pytest.raises(Expired):
        other.open()


def test_a_renewal_never_shortens_a_lease(clock: Clock, service: Service) -> None:
    handle = put(service, 100)
    handle.lease = 1
    handle.renew()
    clock.now += 50
    assert (handle.open() == 1).all()


def test_who_holds_it_needs_no_lease(clock: Clock, service: Service) -> None:
    held = Handle.put(current(service), np.ones(1000), 1)
    clock.now += 50
    assert (held.open() == 1).all()
    del held
    until(lambda: not service.objects.counted(), lambda: "it is kept")


def test_a_number_without_its_key_opens_nothing(clock: Clock, service: Service) -> None:
    handle = put(service, 10)
    kind, address, ident, (_, lease), none = handle.fields
    for fields in ([kind, address, ident, ["0" * 32, lease], none], [kind, address, "probe", ["", lease], none]):
        with pytest.raises(Expired):
            Handle.of(fields).open()


def test_a_host_in_which_a_handle_waits_to_be_opened_is_not_idle(clock: Clock, service: Service) -> None:
    put(service, 10)
    SESSIONS.close(service.address)
    until(lambda: not service.peers, lambda: "the session goes on")
    assert is_busy(service)
    clock.now += 11
    current(service).call(HANDLES, "sweep", (), {})
    SESSIONS.close(service.address)
    until(lambda: not is_busy(service), lambda: "it is kept")


def test_more_than_there_may_be_is_refused_and_what_is_there_stays(clock: Clock, service: Service) -> None:
    first = Handle.put(current(service), np.ones(MOST, "u1"), 10)
    with pytest.raises(Overloaded, match="bytes are kept for handles"):
        Handle.put(current(service), np.ones(1, "u1"), 10)
    assert len(first.open()) == MOST


def test_what_a_client_makes_up_under_the_handles_name_is_in_nobodys_way(clock: Clock, service: Service) -> None:
    current(service).control("create", HANDLE, [5], {})
    assert len(Handle.put(current(service), np.ones(MOST, "u1"), 10).open()) == MOST


def test_what_is_frozen_can_never_be_written_to_again() -> None:
    def fill(buffer: memoryview) -> None:
        buffer[:3] = b"abc"

    frozen = segment.frozen(10, fill)
    assert frozen.map[:3] == b"abc"
    with pytest.raises(PermissionError):
        mmap.mmap(frozen.fd, frozen.size)
    with pytest.raises(TypeError):
        frozen.map[0] = 1
    frozen.close()
