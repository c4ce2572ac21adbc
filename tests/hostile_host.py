"""A host to be attacked, in a process of its own: ``python -m tests.hostile_host LOG FEW``."""

from __future__ import annotations

import faulthandler
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from sharedmodel import link, reply, runtime
from sharedmodel.entry import Limits
from sharedmodel.objects import Objects, Registration
from sharedmodel.service import Service


class Victim:
    """What well-behaved and hostile clients call alike."""

    def echo(self, *args: Any, **kwargs: Any) -> Any:
        return [args, kwargs] if kwargs else args

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def total(self, array: Any) -> float:
        return float(array.sum())

    def filled(self, size: int) -> Any:
        out = reply.empty(min(size, 1 << 20), "u1")
        out[:] = 7
        return out

    def count(self, most: int) -> Iterator[int]:
        yield from range(most)

    def wait(self) -> None:
        over = threading.Event()
        with reply.on_cancel(over.set):
            over.wait()


def main() -> None:
    faulthandler.enable()
    logging.basicConfig(filename=sys.argv[1], format="%(levelname)s %(message)s", level=logging.INFO)
    objects = Objects({"Victim": Registration(Victim)})
    objects.publish("victim", Victim())
    limits = Limits(request_bytes=64 << 20, reply_quota=64 << 20, payload=64 << 20)
    service = Service(link.listen(runtime.fresh_address("hostile")), objects, limits=limits)
    service.repeats.few = int(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: service.stop())
    print(service.address, flush=True)
    service.serve_forever()


if __name__ == "__main__":
    main()
