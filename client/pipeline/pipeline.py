"""`Pipeline`: stages one after the other, for as many pages at once as there are threads."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from multiprocessing import AuthenticationError
from typing import Final, NamedTuple

from sharedmodel.client.host import Host, connect
from sharedmodel.errors import BadArgument, Cancelled, HostUnavailable, LoadFailed, NotPermitted, Overloaded

from .output import Output
from .page import Page
from .source import DPI, PICTURES, Path, checked, common_folder, files, pages
from .stages import Stage, made, parts
from .texts import Texts
from .threads import Threads

# Of these no page is to blame, and the next one would meet them too.
_FATAL: Final = (HostUnavailable, LoadFailed, NotPermitted, AuthenticationError)


class Ready(NamedTuple):
    """A page that is through its stages, and what each output that wants it gets."""

    page: Page
    data: list[tuple[Output, bytes]]


class Pipeline:
    """Stages for pages: names of known ones, "ocr-translate", and functions of your own.

    A function gets a `Page`, may add fields to it, and is called by several threads at once.
    """

    def __init__(
        self,
        *stages: str | Stage,
        host: Host | None = None,
        models: Mapping[str, str] | None = None,
        to: str | None = None,
        at_once: int | None = None,
        timeout: float | None = None,
        dpi: int = DPI,
    ) -> None:
        """``host``: without it, what `connect` finds. ``models``: which to take for a stage ("ocr", "translate",
        "embed"), where the server has not just one of its kind. ``to``: the language to translate to, which
        chooses among translators by their names ("en-zh" is to "zh"). ``at_once``: pages on their way; as a rule
        one more than processors. ``timeout``: the deadline of each call, in seconds. ``dpi``: of a PDF's pages.

        Raises BadArgument for stages that can't be, or a model that there is not.
        """
        self._host = host
        self._at_once = at_once or len(os.sched_getaffinity(0)) + 1
        self._dpi = dpi
        self._stages: list[Stage] = []
        names: list[str] = []
        for stage in stages:
            if isinstance(stage, str):
                for part in parts(stage):
                    self._stages.append(made(part, self._reach(), (models or {}).get(part), to, timeout))
                    names.append(f"{part}:{to}" if part == "translate" and to else part)
            else:
                self._stages.append(stage)
                names.append(getattr(stage, "__name__", type(stage).__name__))
        self.name = "-".join(names)

    def run(
        self, paths: Iterable[Path], *outputs: Output, skipped: Callable[[Page], None] = lambda page: None
    ) -> Iterator[Page]:
        """The pages of files, folders and PDFs, in their order, each when it is through and in all ``outputs``.

        Those that the outputs have already are ``skipped``. A page that fails has its ``error``, and the others
        go on; where the server itself is gone, or a model can't be loaded, that is raised. What was begun when
        the caller stops is ended, and not put out. A folder of `Pictures` below a source is no part of it.
        """
        named = checked(paths)
        filled = filled_folders(named, outputs)
        run = _Run(self._stages, outputs, self._at_once)
        try:
            for output in outputs:
                output.open(self.name, common_folder(named))
            yield from run.ordered(self._wanted(named, filled, outputs, skipped))
        finally:
            run.end()
            for output in outputs:
                output.close()

    def _wanted(
        self, named: list[str], filled: set[str], outputs: tuple[Output, ...], skipped: Callable[[Page], None]
    ) -> Iterator[Page]:
        def wanted(page: Page) -> bool:
            if outputs and all(output.has(page) for output in outputs):
                skipped(page)
                return False
            return True

        for found in files(named, filled):
            yield from pages(found, wanted, self._dpi)

    def _reach(self) -> Host:
        if self._host is None:
            self._host = connect()
        return self._host


def filled_folders(named: list[str], outputs: Iterable[Output]) -> set[str]:
    """The folders that the run fills with pictures, which are no pages. Raises BadArgument where one is a source."""
    filled = {
        os.path.realpath(output.folder) for output in outputs if isinstance(output, Texts) and output.suffix in PICTURES
    }
    if both := [path for path in named if os.path.realpath(path) in filled]:
        raise BadArgument(f"{both[0]}: pictures made of its pages would be pages as well; name another folder for them")
    return filled


class _Run:
    """One run: the threads, and the pages that are on their way, in order."""

    def __init__(self, stages: list[Stage], outputs: tuple[Output, ...], at_once: int) -> None:
        self._stages = stages
        self._outputs = outputs
        self._most = 2 * at_once  # some wait for the one that is slow, so that no thread waits for work
        self._over = threading.Event()
        self._threads = Threads(at_once, self._through)

    def ordered(self, source: Iterator[Page]) -> Iterator[Page]:
        """The pages of the source when they are done. What the source raises comes after those that it gave."""
        begun: deque[Future[Ready]] = deque()
        failure: Exception | None = None
        while True:
            try:
                page = next(source, None)
            except Exception as exc:
                failure = exc
                break
            if page is None:
                break
            begun.append(self._threads.submit(page))
            del page  # or it would live until the next one comes
            if len(begun) >= self._most:
                yield self._put(begun.popleft())
        while begun:
            yield self._put(begun.popleft())
        if failure is not None:
            raise failure

    def end(self) -> None:
        self._over.set()
        self._threads.end()

    def _put(self, future: Future[Ready]) -> Page:
        page, data = future.result()
        for output, each in data:
            output.put(page, each)
        return page

    def _through(self, page: Page) -> Ready:
        data = None
        try:
            if page.error is None:
                for stage in self._stages:
                    self._patiently(stage, page)
                data = self._prepared(page)
        except (*_FATAL, Cancelled):
            raise
        except Exception as exc:
            page.error = exc
        if data is None:
            data = self._prepared(page)
        page.drop_image()
        return Ready(page, data)

    def _prepared(self, page: Page) -> list[tuple[Output, bytes]]:
        made = [(output, output.prepare(page)) for output in self._outputs if not output.has(page)]
        return [(output, data) for output, data in made if data is not None]

    def _patiently(self, stage: Stage, page: Page) -> None:
        """Call a stage; where the host is full, when it says so."""
        while not self._over.is_set():
            try:
                stage(page)
            except Overloaded as exc:
                self._over.wait(exc.retry_after)
            else:
                return
        raise Cancelled("the run has ended")
