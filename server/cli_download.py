"""`sharedmodel download`: what a configuration names on the hub, fetched ahead of its server."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sharedmodel.errors import BadArgument

from .cli_options import Json
from .progress import Hear, Progress
from .settings import ModelSettings, Settings

if TYPE_CHECKING:
    from .models.hub import Repository

FAILED: Final = 1
_NOTHING: Final = "names nothing on the hub"
_OWN: Final = "its library has downloads of its own, which are made where it is loaded"


def download(
    config: Annotated[str, typer.Argument(metavar="CONFIG.toml", help="Its models' files are fetched.")],
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Only these.")] = None,
    json: Json = False,
) -> None:
    """Fetch what the models of a configuration name on the hub, into the cache that its server looks in.

    Run it as the server's user, with the server's HF_HOME where that is set: then the server needs no hub, and
    stays offline, as it is by default. What is there already is not fetched again; what was interrupted goes on.

    Exit code 1: a model could not be fetched; each is told.
    """
    from .cli_console import print_json
    from .config import load

    found = [_fetched(name, model) for name, model in _chosen(load(config), models or ())]
    if json:
        print_json(found)
    if any("error" in each for each in found):
        raise SystemExit(FAILED)


def _chosen(settings: Settings, names: list[str] | tuple[()]) -> list[tuple[str, ModelSettings]]:
    from .mistakes import Mistake
    from .names import model_of
    from .versions import one_by_one

    all_of_them = one_by_one(settings.models)
    known = {*all_of_them, *settings.models}
    for name in names:
        if name not in known:
            raise BadArgument(str(Mistake.unknown("MODEL", "model", tuple(sorted(known)), name)))
    return [(name, one) for name, one in all_of_them.items() if not names or {name, model_of(name)} & {*names}]


def _fetched(name: str, model: ModelSettings) -> dict[str, str]:
    """Fetch what one model needs, and tell how that went."""
    from .fetching import wanted
    from .models.hub import fetched

    try:
        _check_online()
        repository = wanted(model)
        if repository is None:
            why = _OWN if _fetches_itself(model) else _NOTHING
            print(f"{name}: {why}", file=sys.stderr)
            return {"model": name, "skipped": why}
        with _shown(name, repository) as hear:
            folder = fetched(repository, hear)
    except (OSError, ValueError, ImportError, NotImplementedError) as exc:
        print(f"sharedmodel: {name}: {exc}", file=sys.stderr, flush=True)
        return {"model": name, "error": str(exc)}
    print(f"{name}: {repository.name} is in {folder}", file=sys.stderr)
    return {"model": name, "name": repository.name, "folder": folder}


def _check_online() -> None:
    from .models.hub_failures import offline, variable

    if offline():
        raise OSError(f"{variable()} forbids to ask the hub; run this command without it")


def _fetches_itself(model: ModelSettings) -> bool:
    from .kinds import DETAILS, adapter

    return model.kind is not None and bool(DETAILS[model.kind].made) and not hasattr(adapter(model.kind), "on_hub")


@contextmanager
def _shown(name: str, repository: Repository) -> Iterator[Hear]:
    """A bar where there is a terminal, else a line now and then."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield Lines(name)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(f"{name}: {repository.name}", total=None)

        def hear(progress: Progress | None) -> None:
            if progress is not None:
                bars.update(task, completed=progress.done, total=progress.total or None)

        yield hear


class Lines:
    """How far it is, for a log: the beginning, and a line now and then."""

    EVERY: Final = 10.0  # seconds

    def __init__(self, name: str) -> None:
        self._name = name
        self._next = 0.0

    def __call__(self, progress: Progress | None) -> None:
        if progress is not None and (now := time.monotonic()) >= self._next:
            self._next = now + self.EVERY
            print(f"{self._name}: {progress}", file=sys.stderr, flush=True)
