"""Hosts and clients as processes of their own, for tests that stop and kill them.

Crowd    what a test has started; all of it is ended with the test
HostProcess    a `Service` with a `Probe` under the name "probe", in its own process
Child    a process that runs a function of a module; the two talk by lines
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sharedmodel import link, segment
from sharedmodel.crossing import load_in_client, proxy_bytes
from sharedmodel.entry import Limits
from sharedmodel.objects import Objects, Registration
from sharedmodel.service import Service
from sharedmodel.session import Session
from sharedmodel.sessions import SESSIONS

PATIENCE = 100.0
ROOT = Path(__file__).parent.parent


def until(condition: Callable[[], Any], else_: Callable[[], Any] | None = None, patience: float = PATIENCE) -> Any:
    """Wait for what gives no sign but itself; what it was when it held. ``else_`` tells what is the matter."""
    end = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < end, f"it did not happen: {else_() if else_ is not None else condition}"
        time.sleep(0.005)
    return found


class Child:
    """Runs ``function(*args)`` in a fresh process. `say` there is `hears` here, `tell` here `listen` there."""

    def __init__(self, function: Callable[..., Any] | str, *args: Any, stderr: Any = None) -> None:
        name = function if isinstance(function, str) else f"{function.__module__}:{function.__qualname__}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.crowd", name, json.dumps(args)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT,
        )  # fmt: skip
        self._heard = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def hears(self, patience: float = PATIENCE) -> str:
        """The next line that the child says."""
        out = self.process.stdout
        assert out is not None
        end = time.monotonic() + patience
        while b"\n" not in self._heard:
            ready, _, _ = select.select([out], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"the child {self.process.args} said nothing for {patience} s"
            got = os.read(out.fileno(), 4096)
            assert got, f"the child {self.process.args} ended (exit code {self.process.wait()})"
            self._heard += got
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def tell(self, line: str = "go") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ends(self, patience: float = PATIENCE) -> int:
        """Its exit code, when it has ended."""
        return self.process.wait(patience)

    def close(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def say(line: object) -> None:
    """A line to the parent."""
    os.write(1, f"{line}\n".encode())


def listen() -> str:
    """A line from the parent; ends this process when the parent is gone."""
    line = sys.stdin.readline()
    if not line:
        os._exit(1)
    return line.strip()


class HostProcess(Child):
    """A host; ``files`` lowers its limit of open descriptors, ``limits`` are those of the service."""

    def __init__(self, directory: str, *, name: str = "host", files: int = 0, **limits: Any) -> None:
        self.address = os.path.join(directory, f"{name}.sock")
        self._log = Path(directory, f"{name}.log")
        with self._log.open("ab") as log:
            super().__init__(serve, self.address, files, limits, stderr=log)
        assert self.hears() == "ready"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """SIGSTOP, and wait until it stands."""
        self.signal(signal.SIGSTOP)
        until(lambda: Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")

    def go_on(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        super().kill()
        for left in segment.leftovers():  # it may have been between creating a name and unlinking it
            if left.name.startswith(f"{segment.PREFIX}{self.pid}."):
                segment.remove(left)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def mappings(self) -> int:
        """Segments that it has mapped."""
        maps = Path(f"/proc/{self.pid}/maps").read_text()
        return sum("sharedmodel" in line for line in maps.splitlines())

    def holdings(self) -> dict[str, int]:
        """What clients can make it hold."""
        return {"descriptors": self.descriptors(), "segments": self.mappings()}


def serve(address: str, files: int, limits: dict[str, Any]) -> None:
    from .probe import Item, Probe

    logging.basicConfig(format="%(levelname)s %(message)s")
    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    objects = Objects({"Item": Registration(Item), "Probe": Registration(Probe)})
    objects.publish("probe", Probe())
    service = Service(link.listen(address), objects, limits=Limits(**limits))
    signal.signal(signal.SIGTERM, lambda *_: service.stop())
    say("ready")
    service.serve_forever()


@contextlib.contextmanager
def session(address: str, **options: Any) -> Iterator[Session]:
    """A session of this process that is not the one in SESSIONS."""
    opened = Session(address, proxy=proxy_bytes, load=load_in_client(address), **options)
    try:
        yield opened
    finally:
        opened.close()


def probe(address: str, timeout: float | None = None) -> Caller:
    """The probe of a host, by the session that this process has with it."""
    return Caller(address, "probe", timeout)


class Caller:
    """``caller.method(…)`` calls a method of a named object."""

    def __init__(self, address: str, name: str, timeout: float | None = None) -> None:
        self._call = lambda method, args, kwargs: SESSIONS.current(address).call(name, method, args, kwargs, timeout)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._call(method, args, kwargs)


class Crowd:
    """Everything that one test has started."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._ends = contextlib.ExitStack()

    def host(self, **options: Any) -> HostProcess:
        host: HostProcess = self._ends.enter_context(HostProcess(self.directory, **options))
        return host

    def child(self, function: Callable[..., Any], *args: Any, **options: Any) -> Child:
        return self._ends.enter_context(Child(function, *args, **options))

    def session(self, address: str, **options: Any) -> Session:
        return self._ends.enter_context(session(address, **options))

    def close(self) -> None:
        self._ends.close()


def _main(name: str, args: str) -> None:
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module.replace("__main__", "tests.crowd"))
    for part in path.split("."):
        found = getattr(found, part)
    found(*json.loads(args))


if __name__ == "__main__":
    _main(*sys.argv[1:])
