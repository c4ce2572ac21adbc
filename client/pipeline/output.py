"""Where pages go when they are done, and how a later run knows which have been.

`JsonLines` is one file, a page a line: ``{"file": ..., "page": ..., "pipeline": ..., "lines": [...], ...}``, and of a
page that failed ``{"file": ..., "error": {"type": ..., "message": ...}}``; ``cwd`` is where a relative ``file`` begins,
and without it, in lines of earlier versions, where the run does that reads them. Each line is appended by one write;
what a kill has left of one is cut off by the next run, which also tries again what had failed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, Protocol

import numpy as np

from sharedmodel.errors import BadArgument

from .done import Done
from .page import Page

_BEGINNING: Final = b'{"file": "'  # of each line


class Output(Protocol):
    """One place for pages."""

    def open(self, pipeline: str, root: str) -> None:
        """Begin: ``pipeline`` says what is done with pages, below ``root`` lie their files. Raises BadArgument."""

    def has(self, page: Page) -> bool:
        """Whether an earlier run has put it there."""

    def prepare(self, page: Page) -> bytes | None:
        """What to put there, or None; called by several threads."""

    def put(self, page: Page, data: bytes) -> None:
        """Put it there, as a whole or not at all; called by one thread, in the order of the source."""

    def close(self) -> None:
        """The end. Idempotent."""


class JsonLines:
    """A file of JSON, one line a page."""

    def __init__(self, path: str | os.PathLike[str], *, restart: bool = False) -> None:
        """``restart``: begin anew, whatever is there."""
        self._path = os.fspath(path)
        self._restart = restart
        self._file: BinaryIO | None = None
        self._pid = 0
        self._done = Done()
        self._pipeline = ""

    def open(self, pipeline: str, root: str) -> None:
        """Read what is there. Raises BadArgument where that is of another pipeline, or another run writes it."""
        self._pipeline = pipeline
        self._pid = os.getpid()
        self._file = _locked(self._path)
        if self._restart:
            self._file.truncate(0)
        good = self._read(self._file)
        if good is not None:
            self._file.truncate(good)
            return
        self._file = _replaced(self._path, self._file, _without_errors(self._file))

    def has(self, page: Page) -> bool:
        return page.key in self._done

    def prepare(self, page: Page) -> bytes:
        return line(page, self._pipeline)

    def put(self, page: Page, data: bytes) -> None:
        if self._file is not None:
            write_all(self._file.fileno(), data)

    def close(self) -> None:
        if self._file is not None:
            if self._pid == os.getpid():  # by hand: a child forked meanwhile shares the lock, and is not to end it
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()
            self._file = None

    def _read(self, file: BinaryIO) -> int | None:
        """Note what is done; how many bytes are good, or None where lines of errors lie between."""
        good, failed = 0, False
        file.seek(0)
        for number, text in enumerate(file, 1):
            if not text.endswith(b"\n"):
                self._check_torn(number, text)
                break
            good += len(text)
            record = self._record(number, text)
            if "error" in record:
                failed = True
            else:
                self._done.add(Page(os.path.join(record.get("cwd", ""), record["file"]), record.get("page")).key)
        return None if failed else good

    def _check_torn(self, number: int, text: bytes) -> None:
        """Raise BadArgument unless a kill can have left this of one of our lines."""
        begun = text.startswith(_BEGINNING) or _BEGINNING.startswith(text)
        try:
            json.loads(text)
        except ValueError:
            if begun:
                return
        self._record(number, text)  # whole but for its end, or somebody's

    def _record(self, number: int, text: bytes) -> dict[str, Any]:
        try:
            record = json.loads(text)
            made_by, _ = record["pipeline"], record["file"]
        except (ValueError, TypeError, KeyError):
            raise BadArgument(f"{self._path}, line {number}: no page of a pipeline; name another file") from None
        if made_by != self._pipeline:
            raise BadArgument(
                f"{self._path} was made by the pipeline {made_by!r}, and this is {self._pipeline!r}: "
                "name another file, or begin anew with --restart"
            )
        return dict(record)


class Stream:
    """JSON lines to a descriptor, as they come; it remembers nothing."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pipeline = ""

    def open(self, pipeline: str, root: str) -> None:
        self._pipeline = pipeline

    def has(self, page: Page) -> bool:
        return False

    def prepare(self, page: Page) -> bytes:
        return line(page, self._pipeline)

    def put(self, page: Page, data: bytes) -> None:
        write_all(self._descriptor, data)

    def close(self) -> None:
        pass


def line(page: Page, pipeline: str) -> bytes:
    """A page as a line of JSON, with null for numbers that are not finite. Raises TypeError for what JSON has not."""
    record: dict[str, Any] = {"file": page.file}
    if not os.path.isabs(page.file):
        record["cwd"] = os.getcwd()
    if page.number is not None:
        record["page"] = page.number
    record["pipeline"] = pipeline
    if page.error is not None:
        record["error"] = dict(zip(("type", "message"), page.reason, strict=True))
    else:
        record |= page.fields
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        record = _finite(record)
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, default=_plain)
    try:
        return f"{text}\n".encode()
    except UnicodeEncodeError:  # a file's name that is no UTF-8: escaped it keeps its bytes
        return (json.dumps(record, allow_nan=False, default=_plain) + "\n").encode()


def write_all(descriptor: int, data: bytes) -> None:
    """By one write, as a rule: a disk that is nearly full takes a part of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"a field of a page is what JSON has, or an array, not {type(value).__name__}")


def _finite(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _locked(path: str) -> BinaryIO:
    """The file, held against other runs as long as it is open."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        file = os.fdopen(descriptor, "r+b", closefd=True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise BadArgument(f"{path} is being written by another run") from None
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return file
        except FileNotFoundError:
            pass
        file.close()  # another run has put another file there since


def _without_errors(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    for text in file:
        if text.endswith(b"\n") and "error" not in json.loads(text):
            yield text


def _replaced(path: str, old: BinaryIO, lines: Iterator[bytes]) -> BinaryIO:
    """The file with these lines only, in place of the old one, with its owner and mode: as a whole or not at all."""
    path = os.path.realpath(path)  # of a link what it leads to
    beside = f"{path}.part"  # ours, because the old one is locked
    new = os.fdopen(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o666), "r+b")
    fcntl.flock(new, fcntl.LOCK_EX)
    known = os.fstat(old.fileno())
    with contextlib.suppress(PermissionError):  # only root may give a file away
        os.fchown(new.fileno(), known.st_uid, known.st_gid)
    os.fchmod(new.fileno(), stat.S_IMODE(known.st_mode))
    for text in lines:
        new.write(text)
    new.flush()
    os.replace(beside, path)
    old.close()
    return new
