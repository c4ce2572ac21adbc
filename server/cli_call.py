"""`sharedmodel call`: words of a command line to arguments, and a result to a table or JSON.

word                      argument
@page.png                 the file's bytes
x.npy, @x.npy             the array in that file (x.npy only where it exists)
3, null, [1, 2], "text"   JSON
anything else             text; where the method takes a file, the client reads it
KEY=...                   the same, as a keyword argument
"""

from __future__ import annotations

import base64
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sharedmodel.client import Host, connect
from sharedmodel.client.find import ADDRESS_VARIABLE
from sharedmodel.errors import BadArgument, RemoteTraceback, SharedModelError
from sharedmodel.failure import headline

from .cli_console import console, framed, print_json, print_json_line
from .cli_place import running_places
from .kinds import fed


class CallFailed(SharedModelError):
    """The model raised; as one line."""


def run(
    model: str, words: list[str], *, timeout: float | None, runtime_dir: str | None, as_json: bool, trace: bool
) -> None:
    """Call it and print the result, of a stream each item as it comes. Raises CallFailed, and as connecting does."""
    with host_of(runtime_dir, timeout) as host:
        proxy = host.model(model, timeout=timeout)
        method, rest = _method(model, proxy._info, words)
        args, kwargs = fed(proxy._info.get("kind"), method, *arguments(rest))
        call = f"{model}.{method}()"
        with _told(call, trace):
            result = getattr(proxy, method)(*args, **kwargs)
        if isinstance(result, Iterator):
            for item in _items(result, call, trace):
                print_json_line(plain(item)) if as_json else _show(item)
            return
    if as_json:
        print_json(plain(result))
    else:
        _show(result)


def _items(stream: Iterator[Any], call: str, trace: bool) -> Iterator[Any]:
    while True:
        with _told(call, trace):
            try:
                item = next(stream)
            except StopIteration:
                return
        yield item


@contextmanager
def _told(call: str, trace: bool) -> Iterator[None]:
    """What the model raises becomes CallFailed."""
    try:
        yield
    except SharedModelError:
        raise
    except Exception as exc:
        raise _failed(call, exc, trace) from exc


def _failed(call: str, exc: Exception, trace: bool) -> CallFailed:
    if not isinstance(exc.__cause__, RemoteTraceback):  # it happened on this side, reading a file
        return CallFailed(f"{exc.filename}: {exc.strerror}" if isinstance(exc, OSError) else str(exc))
    if trace:
        print(exc.__cause__.text.rstrip(), file=sys.stderr)
    return CallFailed(f"{call} raised {headline(exc)}")


def arguments(words: list[str]) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key.isidentifier():
            kwargs[key] = argument(value)
        elif kwargs:
            raise BadArgument(f"{word!r}: arguments by position come before KEY=VALUE")
        else:
            args.append(argument(word))
    return args, kwargs


def argument(word: str) -> Any:
    """The value of one word; see the module's head."""
    named = word.startswith("@")
    path = word.removeprefix("@")
    if path.endswith(".npy") and (named or os.path.isfile(path)):
        return _array(path)
    if named:
        return _bytes(path)
    try:
        return json.loads(word)
    except ValueError:
        return word


def plain(value: Any) -> Any:
    """A result as JSON has it: arrays as lists, bytes as base64, and null for a number that is not finite."""
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)


def host_of(runtime_dir: str | None, timeout: float | None) -> Host:
    """The host that a command means."""
    named = None if runtime_dir else os.environ.get(ADDRESS_VARIABLE)
    return connect(named or running_places(runtime_dir)[0].host, start=False, timeout=timeout)


def _method(model: str, info: dict[str, Any], words: list[str]) -> tuple[str, list[str]]:
    if words and words[0] in info["exposed"]:
        return words[0], words[1:]
    if "default" in info:
        return info["default"], words
    given = f"{words[0]!r} is none of them" if words else "say which to call"
    raise BadArgument(f"model {model!r} has the methods {', '.join(info['exposed'])}: {given}")


def _array(path: str) -> Any:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as exc:
        raise BadArgument(f"{path}: {exc}") from exc


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        raise BadArgument(f"{path}: {exc.strerror}") from exc


def _show(result: Any) -> None:
    out = console()
    if isinstance(result, list | tuple) and result and all(isinstance(row, dict) for row in result):
        headings = list(dict.fromkeys(str(key) for row in result for key in row))
        out.print(framed(headings, ([_cell(row.get(key, "")) for key in headings] for row in result)))
    elif isinstance(result, dict):
        out.print(framed(("key", "value"), ((key, _cell(value)) for key, value in result.items())))
    elif isinstance(result, list | tuple):
        for index, item in enumerate(result):
            out.print(f"[{index}] {_cell(item)}", markup=False)
    else:
        out.print(_cell(result), markup=False)


def _cell(value: Any) -> str:
    import numpy as np

    if isinstance(value, np.ndarray):
        text = np.array2string(value, threshold=32, edgeitems=3, precision=4, separator=", ")
        return " ".join(text.split()) if value.size <= 16 else f"{value.dtype} {value.shape}\n{text}"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    return str(plain(value)) if isinstance(value, bytes | bytearray) else str(value)
