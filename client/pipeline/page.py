"""A page on its way: where it comes from, what it shows, and what is known of it by now."""

from __future__ import annotations

import os
from typing import Any, Final

from sharedmodel.errors import BadArgument, RemoteError
from sharedmodel.tensor import Array

_TAKEN: Final = ("file", "cwd", "page", "pipeline", "error")  # by what a line of JSON tells of each page


class Page:
    """A picture, or a page of a PDF or of a TIFF with several. Stages add fields to it: ``page["words"] = 3``.

    ``file`` is its path as the source found it, ``number`` that of such a page, from 1, and None for a picture.
    ``image`` is an array (height, width, 3), RGB, of such a page; else the file's bytes. It is there for
    stages, and gone when the page is done. ``error`` is what went wrong with it, if anything.
    """

    def __init__(self, file: str, number: int | None = None, image: Array | None = None) -> None:
        self.file = file
        self.number = number
        self.fields: dict[str, Any] = {}
        self.error: Exception | None = None
        self._image: Array | bytes | None = image

    @property
    def image(self) -> Array | bytes:
        """What there is to see. Raises what opening the file raises."""
        if self._image is None:
            with open(self.file, "rb") as file:
                self._image = file.read()
        return self._image

    def drop_image(self) -> None:
        """Let it go: it is large."""
        self._image = None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its lines from top to bottom, once it was read: "text", "score", "box" if told, and "translation" if any."""
        found: list[dict[str, Any]] = self.fields.get("lines", [])
        return found

    @property
    def text(self) -> str:
        """Its lines, or their translations where it was translated."""
        return "\n".join(line.get("translation", line["text"]) for line in self.lines)

    @property
    def key(self) -> str:
        """What tells it from all others, from whatever folder they are named."""
        path = os.path.abspath(self.file)
        return path if self.number is None else f"{path}\0{self.number}"

    @property
    def reason(self) -> tuple[str, str]:
        """Of a page that failed the name of the exception, and its message."""
        exc = self.error
        if isinstance(exc, RemoteError) and exc.type_name:  # of a type that is known in the host only
            name = exc.type_name.rpartition(".")[2]
            return name, str(exc).removeprefix(f"{name}: ")
        return type(exc).__name__, str(exc)

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]

    def __setitem__(self, field: str, value: Any) -> None:
        """Raises BadArgument for a name that is taken."""
        if field in _TAKEN:
            raise BadArgument(f"a field {field!r}: the names {', '.join(_TAKEN)} are taken; choose another")
        self.fields[field] = value

    def __str__(self) -> str:
        name = os.fspath(self.file)
        return name if self.number is None else f"{name}, page {self.number}"

    def __repr__(self) -> str:
        return f"<Page {self}>"
