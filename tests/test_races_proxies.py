"""What happens in the worst order to proxies and long frames: each of these once hung, leaked or ended too much."""

from __future__ import annotations

import gc
import os
from typing import Any

import pytest

from sharedmodel import link, wire
from sharedmodel.crossing import ProxyRef, load_in_host
from sharedmodel.errors import HostLost, UnknownObject
from sharedmodel.pending import Pending
from sharedmodel.service import Service
from sharedmodel.session import Session

from .crowd import until
from .inside import call, session_with


def test_a_proxy_of_a_host_that_does_not_answer_holds_up_nobody_else(
    runtime: str, service: Service, session: Session
) -> None:
    silent = link.listen(os.path.join(runtime, "silent.sock"))
    try:
        with session_with(service) as other:
            elsewhere = ProxyRef("Item", silent.getsockname(), "1", ("get",))
            pending = Pending("echo")
            other.sender.send(other.channel.begin(pending, "probe", (elsewhere,), {}, None))
            asked, _ = silent.accept()
            assert call(session, "echo", 1) == 1
            assert call(other, "echo", 2) == 2
            asked.close()
            silent.close()
            other.reader.wait(pending, None)  # type: ignore[arg-type]
            assert isinstance(pending.error, HostLost)
    finally:
        silent.close()


def test_a_proxy_whose_object_is_gone_fails_its_call_alone(service: Service, session: Session) -> None:
    gone = ProxyRef("Item", service.address, "gone", ("get",))
    with pytest.raises(UnknownObject, match="no object 'gone'"):
        call(session, "echo", gone)
    assert call(session, "echo", 1) == 1


def test_a_frame_in_shared_memory_that_refers_to_itself_ends_that_session_alone(
    service: Service, session: Session
) -> None:
    with session_with(service) as hostile:
        assert hostile.empty(1) is not None  # makes room
        ref, buffer, _ = hostile.channel.requests.place(4096)  # type: ignore[misc]
        frame = wire.frame([wire.SPILL, 1, ref.pack()])
        whole = wire.frame([wire.SPILL, 1, ref._replace(nbytes=len(frame) - wire.LENGTH).pack()])
        buffer[: len(whole) - wire.LENGTH] = whole[wire.LENGTH :]
        hostile.sender.send(whole)
        with pytest.raises(HostLost):
            call(hostile, "echo")
        assert call(session, "echo", 1) == 1


@pytest.mark.parametrize("nbytes", [500_000, 5_000_000, 20_000_000])
def test_long_bytes_arrive_whether_they_are_read_on_the_loop_or_beside_it(service: Service, nbytes: int) -> None:
    sent, items = bytes(nbytes - 1) + b"x", [1] * (nbytes // 10)
    with session_with(service) as session:
        assert call(session, "echo", sent) == sent
        assert call(session, "echo", items) == items


def test_an_object_may_die_of_a_garbage_collection_at_any_moment(service: Service, session: Session) -> None:
    """One that comes while the table of objects is locked, say."""
    ident, exposed = session.control("create", "Item", [1], {})
    cycle: list[Any] = [load_in_host(service, ["Item", service.address, ident, list(exposed), ""])]
    cycle.append(cycle)
    del cycle
    with service.objects._lock:
        gc.collect()
    session.drop(ident)
    until(lambda: session.control("number_of_objects") == 0)
