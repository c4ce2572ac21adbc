"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

RuntimeDir = Annotated[
    str | None,
    typer.Option("--runtime-dir", metavar="DIR", help="Where the sockets lie. Default: your own runtime directory."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Its name, or NAME@VERSION.")]
Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="Give up after so long.")]
