"""``scripts/demo``: see for yourself. Takes about a minute on two cores."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from scripts import pages
from sharedmodel.client import Host, connect

from . import private, reader
from .memory import proportional
from .server import serving

WORKERS = 4
PAGES = 24
SHOWN = 2

console = Console()


def main() -> int:
    """Run the demo; 0 when every line was read right and nothing is left behind."""
    with tempfile.TemporaryDirectory(prefix="sm-", dir="/tmp") as name:
        folder = Path(name)
        drawn = pages.make(PAGES)
        paths = pages.write(drawn, folder / "pages")
        console.rule(f"{PAGES} pages of English and Chinese, {WORKERS} workers, one model")
        console.print(f"Without a server: {WORKERS} processes, each with a model of its own …")
        alone = private.measure(WORKERS, paths)
        start = time.monotonic()
        with serving(folder) as log:
            host = _connected()
            host.model("ocr").ocr(paths[0])
            ready = time.monotonic() - start
            results, shared = _read_all(host, paths)
            host.close()
        right = _compare(drawn, results)
        _weigh(alone, private.Cost(shared, ready))
        console.print(f"[dim]{escape(log.read_text().strip())}[/]", soft_wrap=True, highlight=False)
    left = [name for name in os.listdir("/dev/shm") if name.startswith("sharedmodel-")]
    console.print(f"In /dev/shm: {', '.join(left) or 'nothing left'}")
    return 0 if right and not left else 1


def _connected() -> Host:
    """The host, as soon as its socket is there."""
    end = time.monotonic() + 30
    while True:
        try:
            return connect(start=False)
        except ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def _read_all(host: Host, paths: list[Path]) -> tuple[list[reader.Read], int]:
    """Every page, read by the workers; what they and the server weighed together after the work."""
    model = host.model("ocr")
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        tasks = [pool.submit(reader.read, model, number, str(path)) for number, path in enumerate(paths)]
        results = list(_watch(host, tasks))
        workers = set(pool._processes)
        return results, proportional(workers | {host.status()["pid"], *_supervisor(host)})


def _watch(host: Host, tasks: list[Future[reader.Read]]) -> Iterator[reader.Read]:
    """The results as they come. After a third of them the host is killed."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        total = progress.add_task(f"{len(tasks)} pages", total=len(tasks))
        bars: dict[int, tuple[TaskID, int]] = {}
        for done, task in enumerate(as_completed(tasks), 1):
            result = task.result()
            bar, count = bars.get(result.pid) or (progress.add_task(f"worker {result.pid}", total=None), 0)
            bars[result.pid] = (bar, count + 1)
            progress.update(bar, completed=count + 1)
            progress.update(total, completed=done)
            if done == len(tasks) // 3:
                victim = host.status()["pid"]
                os.kill(victim, signal.SIGKILL)
                progress.console.print(f"[red]SIGKILL to the host[/] (pid {victim}), {len(tasks) - done} pages to go")
            yield result


def _supervisor(host: Host) -> set[int]:
    with open(f"/proc/{host.status()['pid']}/stat") as stat:
        return {int(stat.read().rpartition(")")[2].split()[1])}


def _compare(drawn: list[pages.Page], results: list[reader.Read]) -> bool:
    """The lines beside the truth, for the first pages; whether all lines of all pages are right."""
    by_number = {result.number: result for result in results}
    right = total = 0
    for page in drawn:
        table = Table("truth", "read", title=f"page {page.number}", title_justify="left")
        read = by_number[page.number].lines
        for truth, text in zip(page.lines, read + ("",) * len(page.lines), strict=False):
            right += truth == text
            total += 1
            table.add_row(truth, text if truth == text else f"[red]{text}[/]")
        if page.number < SHOWN:
            console.print(table)
    console.print(f"{right} of {total} lines right, on {len(results)} of {len(drawn)} pages; no call failed.")
    return right == total and len(results) == len(drawn)


def _weigh(alone: private.Cost, shared: private.Cost) -> None:
    table = Table("", "memory", "until ready", title="what it takes", title_justify="left")
    table.add_row(f"{WORKERS} processes, each with its own model", _mb(alone.memory), f"{alone.seconds:.1f} s")
    table.add_row(f"{WORKERS} processes, one model in a host", _mb(shared.memory), f"{shared.seconds:.1f} s")
    table.add_row("", f"{shared.memory / alone.memory:.0%}", f"{shared.seconds / alone.seconds:.0%}")
    console.print(table)


def _mb(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
