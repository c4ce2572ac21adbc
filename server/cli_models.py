"""`sharedmodel load`, `unload`, `reload`, `warmup`: asks the host, waits, and tells how the model stands then."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from sharedmodel.client import Host
from sharedmodel.errors import SharedModelError

from .cli_call import host_of
from .cli_console import console, print_json
from .names import SEPARATOR

_LOOK: Final = 0.3  # seconds


def manage(
    verb: str, model: str, *, timeout: float | None, runtime_dir: str | None, as_json: bool, **options: Any
) -> None:
    """One of the four; `Host` has the methods. Raises what they raise."""
    with host_of(runtime_dir, timeout) as host, waiting(host, model, verb):
        state = getattr(host, verb)(model, timeout=timeout, **options)
    if as_json:
        print_json(state)
    else:
        console().print(told(state), markup=False)


@contextmanager
def waiting(host: Host, model: str, verb: str) -> Iterator[None]:
    """On a terminal: what the model is doing meanwhile, such as how far its download is."""
    if not sys.stderr.isatty():
        yield
        return
    over = threading.Event()
    with Console(stderr=True).status(f"{verb} {model}") as line:
        watch = threading.Thread(target=_watch, args=(host, model, line.update, over), daemon=True)
        watch.start()
        try:
            yield
        finally:
            over.set()
            watch.join()


def _watch(host: Host, model: str, show: Callable[[str], None], over: threading.Event) -> None:
    with contextlib.suppress(SharedModelError, OSError):  # whoever asked for the model is told
        while not over.wait(_LOOK):
            show(escape(doing(host.models(), model)))


def doing(models: dict[str, Any], model: str) -> str:
    """What a model is doing, in words."""
    name, _, version = model.partition(SEPARATOR)
    told = models.get(name, {})
    told = told.get("versions", {}).get(version, told)
    text = told.get("progress", {}).get("text")
    return f"{model}: {told.get('state', 'loading')}{f', {text}' if text else ''}"


def told(state: dict[str, Any]) -> str:
    """A model's state in one line."""
    default = f", the default of {state['model']}" if state.get("default") else ""
    why = state.get("reason") or state["why"]
    return f"{state['name']}{default}: {state['state']}{f' ({why})' if why else ''}"
