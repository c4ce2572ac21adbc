"""`sharedmodel load`, `unload`, `reload`, `warmup`: asks the host, waits, and tells how the model stands then."""

from __future__ import annotations

from typing import Any

from .cli_call import host_of
from .cli_console import console, print_json


def manage(
    verb: str, model: str, *, timeout: float | None, runtime_dir: str | None, as_json: bool, **options: Any
) -> None:
    """One of the four; `Host` has the methods. Raises what they raise."""
    with host_of(runtime_dir, timeout) as host:
        state = getattr(host, verb)(model, timeout=timeout, **options)
    if as_json:
        print_json(state)
    else:
        console().print(told(state), markup=False)


def told(state: dict[str, Any]) -> str:
    """A model's state in one line."""
    default = f", the default of {state['model']}" if state.get("default") else ""
    why = state.get("reason") or state["why"]
    return f"{state['name']}{default}: {state['state']}{f' ({why})' if why else ''}"
