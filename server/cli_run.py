"""`sharedmodel run`: pages of files, folders and PDFs through models, with a bar that tells how it goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sharedmodel.errors import SharedModelError

from .cli_options import RuntimeDir

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from sharedmodel.client.pipeline import Output, Page

FAILED: Final = 1
INTERRUPTED: Final = 130


class OutputFailed(SharedModelError):
    """What was made can't be written."""


def run(
    pipeline: Annotated[str, typer.Argument(help="ocr, ocr-translate, ocr-embed or ocr-translate-embed.")],
    paths: Annotated[list[str], typer.Argument(metavar="PATHS...", help="Pictures, PDFs, folders of them.")],
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="A page a line, as JSON. -: to the screen.")
    ] = None,
    text: Annotated[str | None, typer.Option(metavar="FOLDER", help="A file of text for each page.")] = None,
    pictures: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Each page with boxes and text drawn on it.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="LANGUAGE", help="Translate by the model whose name ends in -LANGUAGE.")
    ] = None,
    ocr: Annotated[str | None, typer.Option(metavar="NAME", help="The model that reads.")] = None,
    translate: Annotated[str | None, typer.Option(metavar="NAME", help="The model that translates.")] = None,
    embed: Annotated[str | None, typer.Option(metavar="NAME", help="The model that makes vectors.")] = None,
    at_once: Annotated[int | None, typer.Option(metavar="COUNT", min=1, help="Pages on their way at a time.")] = None,
    dpi: Annotated[int, typer.Option(min=30, max=1200, help="How finely pages of PDFs are drawn.")] = 200,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="The deadline of each call.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew: heed nothing of an earlier run.")] = False,
    runtime_dir: RuntimeDir = None,
) -> None:
    """Read pages, translate them, embed them: whole folders and PDFs, and go on after an interruption.

    sharedmodel run ocr pages/ book.pdf -o out.jsonl

    sharedmodel run ocr-translate pages/ --to zh -o out.jsonl --pictures drawn/

    Models are found by their kind; where that does not do, they are named.

    What the output has of an earlier run is not done again, unless it failed. Exit code 1: a page failed.
    """
    from sharedmodel.client.pipeline import Pipeline

    from .cli_call import host_of

    outputs = _outputs(output, text, pictures, restart=restart)
    named = {"ocr": ocr, "translate": translate, "embed": embed}
    with host_of(runtime_dir, timeout) as host:
        line = Pipeline(
            pipeline, host=host, models={stage: name for stage, name in named.items() if name}, to=to,
            at_once=at_once, timeout=timeout, dpi=dpi,
        )  # fmt: skip
        tally = Tally()
        try:
            with tally.shown(paths, outputs):
                for page in line.run(paths, *outputs, skipped=tally.skip):
                    tally.count(page)
        except KeyboardInterrupt:
            tally.tell(f"interrupted; the same command{' without --restart' if restart else ''} goes on from here")
            raise SystemExit(INTERRUPTED) from None
        except OSError as exc:  # an output can't be written; what a page's file raises is that page's error
            if isinstance(exc, SharedModelError | BrokenPipeError):
                raise
            raise OutputFailed(f"{exc.filename or output or text or pictures}: {exc.strerror}") from exc
    tally.tell()
    if tally.failed:
        raise SystemExit(FAILED)


def _outputs(output: str | None, text: str | None, pictures: str | None, *, restart: bool) -> list[Output]:
    from sharedmodel.client.pipeline import JsonLines, Pictures, Texts
    from sharedmodel.client.pipeline.output import Stream

    found: list[Output] = []
    if output is not None and output != "-":
        found.append(JsonLines(output, restart=restart))
    if text is not None:
        found.append(Texts(text, restart=restart))
    if pictures is not None:
        found.append(Pictures(pictures, restart=restart))
    return found if found and output != "-" else [*found, Stream(sys.stdout.fileno())]


class Tally:
    """What has become of the pages, and the bar that shows it on a terminal."""

    def __init__(self) -> None:
        self.done = self.failed = self.skipped = 0
        self._begun = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    @contextmanager
    def shown(self, paths: list[str], outputs: list[Output]) -> Iterator[None]:
        """The bar, while pages go through."""
        if not sys.stderr.isatty():
            yield
            return
        with _progress() as self._bar:
            self._task = self._bar.add_task("pages", total=_files(paths, outputs), rate="", failed="")
            try:
                yield
            finally:
                self._bar = None

    def count(self, page: Page) -> None:
        """One more; its error is told at once."""
        if page.error is None:
            self.done += 1
        else:
            self.failed += 1
            told = f"sharedmodel: {page}: {': '.join(page.reason)}"
            if self._bar is not None:
                self._bar.console.print(told, markup=False, highlight=False, style="red", soft_wrap=True)
            else:
                print(told, file=sys.stderr, flush=True)
        self._advance(page)

    def skip(self, page: Page) -> None:
        """One that was done before."""
        self.skipped += 1
        self._advance(page)

    def tell(self, end: str = "") -> None:
        """One line about all of them."""
        earlier = f", {self.skipped} done before" if self.skipped else ""
        failed = f", {self.failed} failed" if self.failed else ""
        print(f"{self.done} pages done{earlier}{failed}{f'; {end}' if end else ''}", file=sys.stderr)

    def _advance(self, page: Page) -> None:
        if self._bar is None or self._task is None:
            return
        task = self._bar.tasks[self._task]
        more = 1 if page.number is not None and page.number > 1 else 0  # a file has been counted as one
        failed = f"{self.failed} failed" if self.failed else ""
        self._bar.update(self._task, advance=1, total=(task.total or 0) + more, rate=self._rate(), failed=failed)

    def _rate(self) -> str:
        pages = self.done + self.failed  # the others took no time
        seconds = time.monotonic() - self._begun
        return f"{pages / seconds:.1f} pages/s" if pages > seconds else f"{seconds / max(1, pages):.1f} s/page"


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate, failed = TextColumn("{task.fields[rate]}"), TextColumn("[red]{task.fields[failed]}")
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn(), failed,
        console=Console(stderr=True),
    )  # fmt: skip


def _files(paths: list[str], outputs: list[Output]) -> int:
    from sharedmodel.client.pipeline.pipeline import filled_folders
    from sharedmodel.client.pipeline.source import checked, files

    return sum(1 for _ in files(checked(paths), filled_folders(paths, outputs)))
