"""Small models, most of them bad on purpose. Copied beside a test's configuration."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any


class Echo:
    """Answers, and can be made to wait: `hold` reads a named pipe until somebody writes to it."""

    def __init__(self, plus: int = 0, closed: str = "") -> None:
        self._plus = plus
        self._closed = closed

    def add(self, a: int, b: int = 0) -> int:
        return a + b + self._plus

    def echo(self, value: Any) -> Any:
        return value

    def pid(self) -> int:
        return os.getpid()

    def hold(self, pipe: str) -> str:
        with open(pipe) as opened:
            return opened.read()

    def each(self, values: list[Any], pipe: str = "") -> Iterator[Any]:
        """One by one; what is in the pipe comes last, and without any it fails."""
        yield from values
        if not pipe:
            raise ValueError("no more of them")
        yield self.hold(pipe)

    def odd(self) -> dict[str, Any]:
        """What JSON has not, and what UTF-8 has not."""
        return {"score": float("nan"), "all": [float("inf"), 1.0], "text": "a\ud800b"}

    def held_by(self, pipe: str) -> int:
        self.hold(pipe)
        return os.getpid()

    def count(self, pipe: str, to: int) -> Iterator[int]:
        self.hold(pipe)
        yield from range(to)

    def environment(self, name: str) -> str | None:
        return os.environ.get(name)

    def fail(self, text: str) -> None:
        raise ValueError(text)

    def close(self) -> None:
        if self._closed:
            with open(self._closed, "w") as file:
                file.write("closed")


class Fragile:
    """Says from which load it is; after its end it must not be called any more. Notes its ends in a file."""

    def __init__(self, loads: str, plus: int = 0) -> None:
        with open(loads, "a") as file:
            file.write("x")
        self._loads = loads
        self._number = os.path.getsize(loads)
        self._plus = plus
        self._over = False
        if os.path.exists(f"{loads}.bad"):
            raise RuntimeError("the new weights are bad")

    def work(self, x: int) -> int:
        if self._over:
            raise RuntimeError("called after its end")
        total = sum(range(200)) - 19900  # some work, most of it within Python
        return x + self._plus + total

    def number(self) -> int:
        return self._number

    def counts(self, to: int) -> Iterator[int]:
        for number in range(to):
            yield self.work(number)

    def fit(self) -> bool:
        if os.path.exists(f"{self._loads}.sick{self._number}"):
            raise RuntimeError("sick")
        return True

    def close(self) -> None:
        self._over = True
        with open(f"{self._loads}.closed", "a") as file:
            file.write("x")


class Parent:
    """Has a process of its own, which it does not end."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(["sleep", "1000"])

    def child(self) -> int:
        return self._child.pid


class Heavy:
    """Of many small parts, which the allocator would like to keep, in a cycle, as models are."""

    def __init__(self) -> None:
        self._parts = [b"x" * 100_000 for _ in range(1500)]
        self._cycle = self

    def size(self) -> int:
        return sum(map(len, self._parts))


def waiting(pipe: str) -> Echo:
    """Loads for as long as nobody writes to a named pipe."""
    Echo().hold(pipe)
    return Echo()


def counted(path: str, fails: int = 0) -> Echo:
    """Notes each load in a file; the first ``fails`` loads fail."""
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) <= fails:
        raise RuntimeError("not yet")
    return Echo()


def only(mark: str) -> Echo:
    """The first of them; no other can be made."""
    try:
        os.mkdir(mark)
    except FileExistsError:
        raise RuntimeError("there is one already") from None
    return Echo()


def broken() -> Echo:
    raise FileNotFoundError("no weights here")


def crashing() -> Echo:
    signal.pthread_kill(threading.get_ident(), signal.SIGSEGV)
    return Echo()


def leaving() -> Echo:
    os._exit(7)


class Named:
    """Takes a long argument, and so is long to tell of."""

    def __init__(self, label: str) -> None:
        self._label = label

    def size(self) -> int:
        return len(self._label)


class Wordy:
    """Can't be made, and says so at length."""

    def __init__(self, size: int) -> None:
        raise ValueError("x" * size)


class Unreadable:
    """Can't read a file whose name is no text, while a mark is there."""

    def __init__(self, mark: str) -> None:
        self._mark = mark

    def check(self) -> bool:
        if os.path.exists(self._mark):
            raise OSError(f"can't read {os.fsdecode(bytes([99, 233]))}")
        return True


class Crasher(Echo):
    """Ends its process as it is told."""

    def crash_once(self, path: str, how: str) -> int:
        """Leaves a mark before it crashes, and does not where it finds one."""
        if not os.path.exists(path):
            with open(path, "w"):
                self.crash(how)
        return os.getpid()

    def crash(self, how: str) -> None:
        if how == "exit":
            os._exit(3)
        if how == "descriptors":
            os.closerange(3, 1000)  # as a native library does that closes one twice
            return
        number = {"abort": signal.SIGABRT, "segfault": signal.SIGSEGV, "kill": signal.SIGKILL}[how]
        os.kill(os.getpid(), number)
        signal.pause()


class Talker(Echo):
    """Logs what it is told to."""

    def say(self, text: str) -> None:
        logging.getLogger("sharedmodel.zoo").warning("%s", text)

    def spell(self, text: str) -> Iterator[str]:
        yield from text

    def stumble(self) -> None:
        try:
            self.fail("on purpose")
        except ValueError:
            logging.getLogger("sharedmodel.zoo").exception("it stumbled")


class Weighty(Echo):
    """Takes so many bytes of memory."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weights = b"w" * size


class OnCard(Echo):
    """Takes so many MiB of a GPU that tests/cards.py made up: a file says so for as long as it lives."""

    def __init__(self, cards: str, size: int, device: str) -> None:
        super().__init__()
        self._device = device
        self._taken = os.path.join(cards, device.removeprefix("cuda:"), f"{os.getpid()}-{id(self)}")
        with open(self._taken, "w") as file:
            file.write(f"{size}\n")

    def where(self) -> str:
        return self._device

    def close(self) -> None:
        os.unlink(self._taken)


class Loiterer(Echo):
    """Takes its time, in one of several ways."""

    def wait(self, how: str) -> str:
        import ctypes

        from sharedmodel import reply

        if how == "polite":
            stop = threading.Event()
            with reply.on_cancel(stop.set):
                stop.wait()
            raise RuntimeError("told to stop")
        if how == "python":
            while True:
                pass
        # PyDLL keeps the interpreter's lock over the call, CDLL does not.
        library: Any = ctypes.PyDLL(None) if how == "lock" else ctypes.CDLL(None)
        library.sleep(1000)
        return "slept"

    def letters(self, text: str) -> Iterator[str]:
        yield from text

    def drip(self, how: str) -> Iterator[str]:
        """Loiters between two items."""
        yield "one"
        yield self.wait(how)

    def heed(self, path: str, how: str) -> str:
        """Loiters once where there is such a file."""
        if os.path.exists(path):
            os.unlink(path)
            return self.wait(how)
        return "well"


class Cell:
    """Counts who is inside at once, for a moment in each call and for each item."""

    def __init__(self) -> None:
        self._inside: list[None] = []
        self._most = 0

    def stay(self) -> None:
        self._inside.append(None)
        self._most = max(self._most, len(self._inside))
        time.sleep(0.002)
        self._inside.pop()

    def visits(self, count: int) -> Iterator[int]:
        for number in range(count):
            self.stay()
            yield number

    def most(self) -> int:
        return self._most


class Tally:
    """Notes each call in a file."""

    def note(self, path: str) -> int:
        with open(path, "a") as file:
            file.write("x")
        return os.path.getsize(path)


class Turnstile:
    """Counts who comes through; `hold` stands in the way until somebody writes to the named pipe."""

    def __init__(self) -> None:
        self._count = 0

    def hold(self, pipe: str) -> str:
        with open(pipe) as opened:
            return opened.read()

    def number(self) -> int:
        self._count += 1
        return self._count


class Reader:
    """Reads of a picture how large it is, as a line with its box: for tests of what is done with lines.

    Notes in a file the width of each. One as wide as ``at`` is read when somebody writes to the pipe ``hold``.
    """

    def __init__(self, calls: str = "", hold: str = "", at: int = 0) -> None:
        self._calls, self._hold, self._at = calls, hold, at

    def ocr(self, img: Any) -> list[dict[str, Any]]:
        width, height = self._size(img)
        if self._calls:
            with open(self._calls, "a") as file:
                file.write(f"{width}\n")
        if width == self._at and os.path.exists(self._hold):
            with open(self._hold) as opened:
                opened.read()
        box = [[1, 1], [width - 2, 1], [width - 2, height - 2], [1, height - 2]]
        return [{"text": f"{width} by {height}", "score": 0.5, "position": box}]

    def _size(self, img: Any) -> tuple[int, int]:
        from io import BytesIO

        from PIL import Image

        if not isinstance(img, bytes | memoryview):
            return img.shape[1], img.shape[0]
        with Image.open(BytesIO(img)) as picture:
            picture.load()
            return picture.size


class Translator:
    """Translates into capitals."""

    def translate(self, texts: list[str]) -> list[str]:
        return [text.upper() for text in texts]


class Measurer:
    """Embeds a text as its length."""

    def embed(self, texts: list[str]) -> Any:
        import numpy as np

        return np.array([[len(text), 1] for text in texts], "f4").reshape(-1, 2)
