"""`sharedmodel reload` without a model: the server reads its configuration again, and tells what that changed."""

from __future__ import annotations

from typing import Final

from sharedmodel.errors import BadArgument

from .cli_console import print_json
from .control import ask
from .place import Place
from .reload import TIMEOUT

_PATIENCE: Final = TIMEOUT + 15.0  # it says by then that the file could not be read


def read_again(place: Place, timeout: float | None, as_json: bool) -> None:
    """Print what has changed. Raises BadArgument, with its mistakes, where the configuration was refused."""
    told = ask(place.control, "reload", timeout=_PATIENCE if timeout is None else timeout)
    if "refused" in told:
        raise BadArgument(f"{told['refused']}\nit was not taken: the server goes on with the configuration that it has")
    if as_json:
        print_json(told)
        return
    for line in [*told["changed"], *told["takes_restart"]] or ["nothing has changed"]:
        print(line)
