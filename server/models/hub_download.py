"""A model's files from the hub into its cache: once, and with how far it is.

model_info ─► which commit, which files, how large; which are in the cache already
snapshot_download ─► the others; its bars of bytes are read here, and shown nowhere
refs/main ─► the commit, when all of it is there: until then the cache gives the one before, to an offline server too
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ..machine.amount import size
from ..progress import Hear, Progress

TELL_EVERY: Final = 0.5  # seconds
LOG_EVERY: Final = 15.0

logger = logging.getLogger("sharedmodel.hub")


def download(
    name: str, revision: str | None, cache: str | None, patterns: dict[str, list[str] | None], tell: Hear
) -> str:
    """The folder with the files of a model as the hub has them now; ``tell`` hears how far it is.

    ``patterns``: which files, as `snapshot_download` takes them. Raises what huggingface_hub raises, also where
    the hub does not answer within its time for that (HF_HUB_ETAG_TIMEOUT, 10 s).
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    revision = revision or constants.DEFAULT_REVISION
    info = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    total = _missing(name, info, cache, patterns)
    meter = Meter(f"downloading {name}", total, tell)
    with meter.telling():
        folder = snapshot_download(name, revision=info.sha, cache_dir=cache, tqdm_class=_bar(meter.moved), **patterns)
    if revision != info.sha:
        _point(Path(folder).parents[1] / "refs" / revision, info.sha)
    return str(folder)


def _point(ref: Path, commit: str) -> None:
    """Have a revision be this commit; the library would, for whom asks it by the revision, before any file is there."""
    ref.parent.mkdir(parents=True, exist_ok=True)
    new = ref.with_name(f"{ref.name}.{os.getpid()}.{threading.get_ident()}")
    new.write_text(commit)
    new.replace(ref)


class Meter:
    """Counts bytes of one download. They may come on any thread; what is told is told now and then, on one."""

    def __init__(self, what: str, total: int, tell: Hear, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._total = total
        self._tell = tell
        self._clock = clock
        self._begun = self._logged = clock()
        self._told: Progress | None = None
        self._counts: dict[int, int] = {}  # by bar: what has come over the network, what is written

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What comes in the block is told while it comes, and beginning and end are logged."""
        if not self._total:
            yield
            return
        over = threading.Event()
        teller = threading.Thread(target=self._tell_until, args=(over,), name="download", daemon=True)
        logger.info("%s: %s", self._what, size(self._total))
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()
        logger.info("%s: done, %s in %.1f s", self._what, size(self._total), self._clock() - self._begun)

    def _tell_until(self, over: threading.Event) -> None:
        self.look()
        while not over.wait(TELL_EVERY):
            self.look()

    def moved(self, bar: int, count: int) -> None:
        """So many bytes have come, by one of the bars."""
        self._counts[bar] = count

    def look(self) -> None:
        """Tell how far it is, if that is news; log it if that was long ago."""
        progress, now = self.progress(), self._clock()
        if progress != self._told:
            self._tell(progress)
        self._told = progress
        if now >= self._logged + LOG_EVERY:
            self._logged = now
            logger.info("%s", progress)

    def progress(self) -> Progress:
        """How far it is. What comes twice, after a connection was lost, counts once."""
        done = max(list(self._counts.values()), default=0)
        return Progress(self._what, min(done, self._total), self._total)


def _missing(name: str, info: Any, cache: str | None, patterns: dict[str, list[str] | None]) -> int:
    """Bytes of the wanted files that are not in the cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.utils import filter_repo_objects

    def cached(file: Any) -> bool:
        found = try_to_load_from_cache(name, file.rfilename, cache_dir=cache, revision=info.sha)
        return isinstance(found, str)

    files = filter_repo_objects(info.siblings or [], key=lambda file: file.rfilename, **patterns)
    return sum(file.size or 0 for file in files if not cached(file))


def _bar(moved: Callable[[int, int], None]) -> Any:
    """A class of progress bars, as the hub's library makes them: seen by nobody, those of bytes are counted."""
    import io

    from tqdm.std import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no thread that looks after bars
        _lock = threading.RLock()  # or a semaphore between processes is made, which they keep

        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)  # of the library's own bars
            super().__init__(*args, **{**options, "file": io.StringIO(), "disable": False})

        def display(self, *_: Any, **__: Any) -> bool:
            return True

        def update(self, n: float | None = 1) -> None:
            super().update(n)
            if self.unit == "B":
                moved(id(self), int(self.n))

    return Bar
