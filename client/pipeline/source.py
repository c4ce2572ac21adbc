"""What there is to read: files as they are named, pictures and PDFs in folders, pages in PDFs.

Of a folder the names are held, one folder at a time and sorted; of a PDF one page at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, NamedTuple

from sharedmodel.errors import BadArgument

from . import tiff
from .page import Page

PICTURES: Final = frozenset((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".ppm", ".jp2"))
PDF: Final = ".pdf"
DPI: Final = 200
_RGB: Final = 2  # FPDFBitmap_BGR, whose bytes rev_byteorder turns around

Path = str | os.PathLike[str]


class Found(NamedTuple):
    """A file to read, or a folder that can't be looked into, and why."""

    path: str
    error: OSError | None = None


def checked(paths: Iterable[Path]) -> list[str]:
    """The paths as strings. Raises BadArgument where there are none, or nothing is at one of them."""
    named = [os.fspath(path) for path in paths]
    if not named:
        raise BadArgument("no file and no folder was named")
    for path in named:
        if not os.path.exists(path):
            raise BadArgument(f"{path}: there is no such file or folder")
    return named


def files(paths: Iterable[str], without: Collection[str] = ()) -> Iterator[Found]:
    """Files that are named, whatever their names; pictures and PDFs in folders and the folders below them.

    Folders ``without`` which they shall be, by their real paths, are left out, as the run fills them.
    """
    for path in paths:
        if os.path.isdir(path):
            yield from _below(path, without)
        else:
            yield Found(path)


def _below(folder: str, without: Collection[str]) -> Iterator[Found]:
    try:
        with os.scandir(folder) as found:
            # A link to a folder is not followed: it may lead back.
            names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    except OSError as exc:
        yield Found(folder, exc)
        return
    for name, is_folder in names:
        path = os.path.join(folder, name)
        if is_folder:
            if not without or os.path.realpath(path) not in without:
                yield from _below(path, without)
        elif os.path.splitext(name)[1].lower() in (*PICTURES, PDF) and os.path.isfile(path):
            yield Found(path)


def pages(found: Found, wanted: Callable[[Page], bool], dpi: int = DPI) -> Iterator[Page]:
    """The pages of a file that are ``wanted``; a PDF's, and a TIFF's of several, are drawn when their turn comes.

    A folder that can't be looked into and a PDF that can't be opened are one page with an error; so is each page of
    a PDF that can't be drawn.
    """
    path = found.path
    suffix = os.path.splitext(path)[1].lower()
    if found.error is not None:
        yield _failed(Page(path), found.error)
    elif suffix == PDF:
        yield from _drawn(path, wanted, dpi)
    elif suffix in tiff.SUFFIXES and (several := tiff.count(path)) > 1:
        yield from tiff.pages(path, several, wanted)
    elif wanted(page := Page(path)):
        yield page


def _drawn(path: str, wanted: Callable[[Page], bool], dpi: int) -> Iterator[Page]:
    try:
        import pypdfium2
    except ImportError:
        raise BadArgument(f"{path}: reading a PDF needs pypdfium2 (pip install pypdfium2)") from None
    try:
        document = pypdfium2.PdfDocument(path)
    except (pypdfium2.PdfiumError, OSError) as exc:
        yield _failed(Page(path), exc)
        return
    try:
        for number in range(len(document)):
            if not wanted(page := Page(path, number + 1)):
                continue
            try:
                yield Page(path, number + 1, _picture(document, number, dpi))
            except pypdfium2.PdfiumError as exc:
                yield _failed(page, exc)
            except MemoryError:
                yield _failed(page, MemoryError(f"it is too large to be drawn at {dpi} dpi"))
    finally:
        document.close()


def _picture(document: Any, number: int, dpi: int) -> Any:
    page = document[number]
    bitmap = page.render(scale=dpi / 72, rev_byteorder=True, force_bitmap_format=_RGB)
    try:
        return bitmap.to_numpy().copy()
    finally:
        bitmap.close()
        page.close()


def _failed(page: Page, exc: Exception) -> Page:
    page.error = exc
    return page


def common_folder(paths: Iterable[str]) -> str:
    """The folder below which all that is named lies: one that is named alone is that itself."""
    named = [os.path.abspath(path) for path in paths]
    return os.path.commonpath([path if os.path.isdir(path) else os.path.dirname(path) for path in named])
