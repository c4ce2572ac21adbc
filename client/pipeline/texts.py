"""A file for each page, in a folder that has the shape of the source's: its text, or whatever a subclass makes."""

from __future__ import annotations

import hashlib
import os
from typing import ClassVar, Final

from . import manifest
from .page import Page

_PART: Final = ".part"  # what is not yet whole
_LONGEST: Final = 255 - len(_PART)  # bytes of a name


class Texts:
    """``a.png`` becomes ``a.png.txt``, the third page of ``b.pdf`` becomes ``b.pdf.0003.txt``."""

    suffix: ClassVar[str] = ".txt"

    def __init__(self, folder: str | os.PathLike[str], *, restart: bool = False) -> None:
        """``restart``: make those that are there anew."""
        self._folder = os.fspath(folder)
        self._restart = restart
        self._root = ""
        self._since = -1

    @property
    def folder(self) -> str:
        """Where they lie."""
        return self._folder

    def open(self, pipeline: str, root: str) -> None:
        """Raises BadArgument for a folder with what another pipeline made, or of pages below another folder."""
        self._root = root
        os.makedirs(self._folder, exist_ok=True)
        self._since = manifest.claim(self._folder, pipeline, root, restart=self._restart)

    def has(self, page: Page) -> bool:
        if self._restart:
            return False
        try:
            return os.stat(self.path(page)).st_mtime_ns > self._since
        except OSError:
            return False

    def prepare(self, page: Page) -> bytes | None:
        return None if page.error is not None else self.made(page)

    def put(self, page: Page, data: bytes) -> None:
        path = self.path(page)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        beside = f"{path}{_PART}"
        with open(beside, "wb") as file:
            file.write(data)
        os.replace(beside, path)

    def close(self) -> None:
        pass

    def path(self, page: Page) -> str:
        """The page's file in the folder."""
        folder, name = os.path.split(os.path.relpath(os.path.abspath(page.file), self._root))
        number = "" if page.number is None else f".{page.number:04}"
        return os.path.join(self._folder, folder, _fitting(name, f"{number}{self.suffix}"))

    def made(self, page: Page) -> bytes:
        """What is in that file."""
        return f"{page.text}\n".encode() if page.lines else b""


def _fitting(name: str, end: str) -> str:
    """Both; of a name that leaves no room for the end its beginning, and a digest that tells it from others."""
    whole, room = os.fsencode(name), _LONGEST - len(end)
    if len(whole) <= room:
        return f"{name}{end}"
    told = f"~{hashlib.blake2b(whole, digest_size=8).hexdigest()}{end}"
    return whole[: _LONGEST - len(told)].decode(errors="ignore") + told
