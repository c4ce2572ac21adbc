"""A file for each page, in a folder that has the shape of the source's: its text, or whatever a subclass makes."""

from __future__ import annotations

import os
from typing import ClassVar

from . import manifest
from .page import Page


class Texts:
    """``a.png`` becomes ``a.png.txt``, the third page of ``b.pdf`` becomes ``b.pdf.0003.txt``."""

    suffix: ClassVar[str] = ".txt"

    def __init__(self, folder: str | os.PathLike[str], *, restart: bool = False) -> None:
        """``restart``: make those that are there anew."""
        self._folder = os.fspath(folder)
        self._restart = restart
        self._root = ""
        self._since = -1

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
        beside = f"{path}.part"
        with open(beside, "wb") as file:
            file.write(data)
        os.replace(beside, path)

    def close(self) -> None:
        pass

    def path(self, page: Page) -> str:
        """The page's file in the folder."""
        name = os.path.relpath(os.path.abspath(page.file), self._root)
        number = "" if page.number is None else f".{page.number:04}"
        return os.path.join(self._folder, f"{name}{number}{self.suffix}")

    def made(self, page: Page) -> bytes:
        """What is in that file."""
        return f"{page.text}\n".encode() if page.lines else b""
