"""The frames: their kinds, their bounds, and how they are cut out of a byte stream. No sockets here.

    frame    u32 length, little-endian | a msgpack array whose first element is the kind

    client → host                                      host → client
    HELLO    versions, who, nonce                      WELCOME  version, session, proof
    PROOF    digest (where a key is asked for)         CHALLENGE nonce
    CALL     rid, object, method, args, kwargs,        REPLY    rid, value
             timeout, blocks given back                FAILURE  rid, code, type, message, args, traceback
             [, priority[, traceparent]]              (the latter where WELCOME has "traces")
    CANCEL   rid                                       STREAM   rid: the result is a stream
    CREDIT   rid, n: n more items may come             ITEM     rid, value
    RELEASE  blocks: results no longer used            RELEASE  blocks: inputs the model kept till now
    DROP     objects: one reference fewer each         HELD     blocks of the next reply, kept by the model
                                                       SEGMENT  number, size, kind; its descriptor comes
                                                                along with the frame's bytes
                                                       GOODBYE  rid, rids: the host ends, and has begun no call
                                                                after that one, nor these (where HELLO has "goodbye")
    both: GONE  segments of one's own that are used no longer
          SPILL rid, ref, length: the frame proper lies in shared memory
          PART  rid, last, bytes: a piece of a frame too long for one, where memory can't be shared
          PING, PONG

``rid`` is the request's number, so that calls are pipelined on one connection and a late reply can't
answer the wrong call. Lengths are checked before anything is allocated; pieces are collected only as
fast as they really arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgpack

from .errors import ProtocolError

VERSION: Final = 1
CONTROL: Final = 0  # the object that stands for the host itself

HELLO: Final = 0
CALL: Final = 1
REPLY: Final = 2
FAILURE: Final = 3
CANCEL: Final = 4
RELEASE: Final = 5
CREDIT: Final = 6
PING: Final = 7
DROP: Final = 8
SEGMENT: Final = 9
ITEM: Final = 10
STREAM: Final = 11
HELD: Final = 12
SPILL: Final = 13
PART: Final = 14
PONG: Final = 15
WELCOME: Final = 16
CHALLENGE: Final = 17
PROOF: Final = 18
GONE: Final = 19
GOODBYE: Final = 20

LENGTH: Final = 4
MAX_FRAME: Final = 1 << 20
SPILL_FROM: Final = 64 << 10  # above this a frame's body goes through shared memory
PART_SIZE: Final = 256 << 10
MOST_LISTED: Final = 32 << 10  # numbers, or pairs of them: 19 bytes each at most
MAX_PAYLOAD: Final = (1 << 32) - (1 << 20)  # msgpack's own limit on one binary is 4 GiB
MAX_OPEN: Final = 4096  # payloads of which some pieces have come and others not
MAX_DEPTH: Final = 64


def frame(message: list[Any]) -> bytes:
    """A frame of plain values (no tensors); values that cross go through an `Encoder`."""
    payload: bytes = msgpack.packb(message, unicode_errors="surrogatepass")
    return len(payload).to_bytes(LENGTH, "little") + payload


def frames(head: list[Any], values: list[Any]) -> bytes:
    """The frames of a message that ends with a list, of which each carries a part; none for an empty one."""
    starts = range(0, len(values), MOST_LISTED)
    return b"".join([frame([*head, values[start : start + MOST_LISTED]]) for start in starts])


def framed(payload: bytes) -> bytes:
    """The payload with its length in front."""
    return len(payload).to_bytes(LENGTH, "little") + payload


def parts(rid: int, payload: bytes) -> Iterator[bytes]:
    """The frames that carry a payload too long for one."""
    view = memoryview(payload)
    for start in range(0, len(view), PART_SIZE):
        piece = view[start : start + PART_SIZE]
        yield frame([PART, rid, start + PART_SIZE >= len(view), bytes(piece)])


def read(payload: Any, ext_hook: Callable[[int, bytes], Any]) -> list[Any]:
    """Unpack one payload. Raises ProtocolError unless it is an array that begins with a kind."""
    try:
        message = msgpack.unpackb(payload, ext_hook=ext_hook, strict_map_key=False, unicode_errors="surrogatepass")
    except ProtocolError:
        raise
    except Exception as exc:  # msgpack raises a dozen kinds, none of which says more than its text
        raise ProtocolError(f"a frame that is not msgpack: {exc or type(exc).__name__}") from exc
    if type(message) is not list or not message or type(message[0]) is not int:
        raise ProtocolError("a frame that is not an array headed by its kind")
    return message


class Framer:
    """Cuts frames out of the bytes as they come. Half a frame waits for its other half."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> Sequence[Any]:
        """The payloads that are complete now. Raises ProtocolError for one that claims too much."""
        # One whole frame a read is by far the most common case, and costs no copy.
        if not self._buffer and int.from_bytes(data[:LENGTH], "little") == len(data) - LENGTH <= self._limit:
            return (memoryview(data)[LENGTH:],)
        self._buffer += data
        return list(self._cut())

    def _cut(self) -> Iterator[bytes]:
        start, buffer = 0, self._buffer
        while len(buffer) - start >= LENGTH:
            length = int.from_bytes(buffer[start : start + LENGTH], "little")
            if length > self._limit:
                raise ProtocolError(f"a frame of {length} bytes; at most {self._limit} are allowed")
            end = start + LENGTH + length
            if len(buffer) < end:
                break
            yield bytes(buffer[start + LENGTH : end])
            start = end
        del buffer[:start]

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return len(self._buffer)


class Parts:
    """Collects the pieces of long payloads, bounded in all."""

    def __init__(self, limit: int = MAX_PAYLOAD) -> None:
        self._open: dict[int, bytearray] = {}
        self._limit = limit
        self._held = 0

    def add(self, message: list[Any]) -> bytearray | None:
        """The whole payload once its last piece is here. Raises ProtocolError past the limit."""
        try:
            _, rid, last, piece = message
            if type(rid) is not int or type(last) is not bool or type(piece) is not bytes:
                raise ValueError
        except ValueError as exc:
            raise ProtocolError("a malformed PART frame") from exc
        self._held += len(piece)
        if self._held > self._limit:
            raise ProtocolError(f"more than {self._limit} bytes in pieces")
        if len(self._open) >= MAX_OPEN and rid not in self._open:  # they take room even when empty
            raise ProtocolError(f"pieces of more than {MAX_OPEN} payloads at once")
        whole = self._open.setdefault(rid, bytearray())
        whole += piece
        if not last:
            return None
        self._held -= len(whole)
        return self._open.pop(rid)
