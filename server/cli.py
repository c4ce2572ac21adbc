"""The command line. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import io
import sys
from multiprocessing import AuthenticationError
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from sharedmodel.errors import BadArgument, HostUnavailable, SharedModelError

from .cli_download import download
from .cli_options import Json, Model, RuntimeDir, Timeout
from .cli_run import run

EPILOG: Final = (
    "Exit codes: 0 ok, 1 the call, check or start failed, 2 wrong usage or configuration, 3 no host is running."
)
FAILED: Final = 1
USAGE: Final = 2
NO_HOST: Final = 3


class Commands(TyperGroup):
    """Errors become a line and an exit code, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        # Here and not around all: click takes an EOFError, which HostLost is, for Ctrl-D.
        try:
            return super().invoke(ctx)
        except HostUnavailable as exc:
            fail(NO_HOST, f"no host is running ({exc.strerror or exc}); start one: sharedmodel serve CONFIG.toml")
        except BadArgument as exc:
            fail(USAGE, exc)
        except (SharedModelError, AuthenticationError) as exc:
            fail(FAILED, exc)
        except BrokenPipeError:
            raise SystemExit(FAILED) from None


def fail(code: int, message: Any) -> NoReturn:
    """One line to standard error (a configuration's mistakes: one each), and the exit code."""
    for line in str(message).splitlines():
        print(f"sharedmodel: {line}", file=sys.stderr)
    raise SystemExit(code)


app = typer.Typer(
    cls=Commands,
    name="sharedmodel",
    help="Load a model once per host; every process calls it as if it were its own.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(epilog=EPILOG)
def serve(
    config: Annotated[str | None, typer.Argument(metavar="CONFIG.toml", help="What to serve.")] = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Serve the files that this user's programs ask for; end when idle.")
    ] = False,
    runtime_dir: RuntimeDir = None,
    idle_exit: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="End after so long without sessions; 0: never. Embedded: 60."),
    ] = None,
) -> None:
    """Serve models in the foreground, until Ctrl-C, SIGTERM or `sharedmodel stop`.

    SIGHUP, like `sharedmodel reload`, has it read its configuration again: new models begin, those that are gone end,
    those that differ are loaded anew beside the old ones, and calls go on. What is for the whole server, and not for
    one model, starts the hosts anew.
    """
    from .launch import launch, settings_for

    settings = settings_for(config, embedded=embedded, runtime_dir=runtime_dir, idle_exit=idle_exit)
    try:
        launch(settings)
    except SharedModelError:
        raise
    except OSError as exc:
        from .obstacle import EXIT_CODE, told

        fail(EXIT_CODE, told(exc, settings.runtime_dir or "the runtime directory"))


@app.command(epilog=EPILOG)
def status(runtime_dir: RuntimeDir = None, json: Json = False) -> None:
    """Show the supervisor, the host, its restarts, its models and who is connected."""
    from .cli_place import running_places
    from .cli_status import show
    from .control import ask

    show([ask(place.control, "status") for place in running_places(runtime_dir)], json)


@app.command(epilog=EPILOG)
def top(
    runtime_dir: RuntimeDir = None,
    interval: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Look so often.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one screen and end.")] = False,
) -> None:
    """Watch models, hosts, clients and what they hold in shared memory; q or Ctrl-C to leave."""
    from .cli_place import running_places
    from .cli_top import watch

    watch(running_places(runtime_dir)[0], interval, once=once)


@app.command(epilog=EPILOG)
def metrics(runtime_dir: RuntimeDir = None) -> None:
    """Print the server's metrics in Prometheus's text format.

    `[server] metrics = "127.0.0.1:9100"` in the configuration serves the same over HTTP.
    """
    from .cli_place import running_places
    from .control import ask
    from .metrics.exposition import text

    print(text(ask(running_places(runtime_dir)[0].control, "status")), end="")


@app.command(epilog=EPILOG)
def stop(
    runtime_dir: RuntimeDir = None,
    now: Annotated[bool, typer.Option("--now", help="Give running calls no time to finish.")] = False,
) -> None:
    """Stop the server; running calls finish first, within its grace time."""
    from .cli_place import running_places
    from .cli_stop import stop as end

    end(running_places(runtime_dir)[0], now)


@app.command(epilog=EPILOG, context_settings={"ignore_unknown_options": True})
def call(
    model: Annotated[str, typer.Argument(help="Its name in the configuration.")],
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="[METHOD] ARG|KEY=VALUE", help="JSON, plain text, @FILE (bytes) or FILE.npy."),
    ] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Give up after so long.")] = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where in the host a call failed.")] = False,
    runtime_dir: RuntimeDir = None,
    json: Json = False,
) -> None:
    """Call a method of a model, and print the result as a table or as JSON; a stream's items as they come.

    sharedmodel call ocr page.png

    sharedmodel call net run 'output_names=null' 'input_feed={"x": [[1.0, 2.0]]}'

    sharedmodel call net x=@x.npy        (an ONNX model's inputs by name)
    """
    from .cli_call import run

    run(model, list(args or ()), timeout=timeout, runtime_dir=runtime_dir, as_json=json, trace=traceback)


@app.command(epilog=EPILOG)
def load(
    model: Model,
    default: Annotated[bool, typer.Option("--default", help="Make this version the model's default.")] = False,
    timeout: Timeout = None,
    runtime_dir: RuntimeDir = None,
    json: Json = False,
) -> None:
    """Load a model and wait until it is ready. With --default, NAME means this version from then on.

    sharedmodel load ocr@2 --default
    """
    from .cli_models import manage

    manage("load", model, default=default, timeout=timeout, runtime_dir=runtime_dir, as_json=json)


@app.command(epilog=EPILOG)
def unload(model: Model, timeout: Timeout = None, runtime_dir: RuntimeDir = None, json: Json = False) -> None:
    """Let a model go, when its running calls have ended; its next call loads it again."""
    from .cli_models import manage

    manage("unload", model, timeout=timeout, runtime_dir=runtime_dir, as_json=json)


@app.command(epilog=EPILOG)
def reload(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Its name, or NAME@VERSION; without: the configuration.")
    ] = None,
    timeout: Timeout = None,
    runtime_dir: RuntimeDir = None,
    json: Json = False,
) -> None:
    """Load a model anew beside the one that serves, and swap: no call fails.

    Where the new one can't be loaded the old one stays.

    Without MODEL the server reads its configuration again, and what that changes is printed. One that has mistakes is
    refused, and the server goes on with the one that it has.
    """
    from .cli_configuration import read_again
    from .cli_models import manage
    from .cli_place import running_places

    if model is None:
        read_again(running_places(runtime_dir)[0], timeout, json)
        return
    manage("reload", model, timeout=timeout, runtime_dir=runtime_dir, as_json=json)


@app.command(epilog=EPILOG)
def warmup(model: Model, timeout: Timeout = None, runtime_dir: RuntimeDir = None, json: Json = False) -> None:
    """Make a model's warm-up calls and its canary now; it is loaded if need be."""
    from .cli_models import manage

    manage("warmup", model, timeout=timeout, runtime_dir=runtime_dir, as_json=json)


@app.command(epilog=EPILOG)
def models(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="Only this kind, in full.")] = None,
    json: Json = False,
) -> None:
    """List the kinds of model that a configuration may name, with their methods and options.

    sharedmodel models embedder
    """
    from .cli_kinds import show

    show(kind, json)


@app.command(epilog=EPILOG)
def doctor(runtime_dir: RuntimeDir = None, json: Json = False) -> None:
    """Check shared memory, limits, permissions, leftovers and versions, and say what to do."""
    from .cli_doctor import show
    from .cli_place import all_places
    from .doctor import examine

    if not show(examine(lambda: all_places(runtime_dir)), json):
        raise typer.Exit(FAILED)


@app.command(epilog=EPILOG)
def gc(runtime_dir: RuntimeDir = None, json: Json = False) -> None:
    """Remove what dead processes left: names in /dev/shm, sockets that nobody serves."""
    from .cli_doctor import show_removed
    from .cli_place import all_places, not_there
    from .janitor import collect

    places = all_places(runtime_dir)
    if not places[0].is_there:
        print(f"sharedmodel: {not_there(places[0])}", file=sys.stderr)
    show_removed(collect(places), json)


@app.command(epilog=EPILOG)
def systemd(
    config: Annotated[str | None, typer.Argument(metavar="[CONFIG.toml]", help="What the service serves.")] = None,
    user: Annotated[bool, typer.Option("--user", help="For your own service manager, not the system's.")] = False,
    socket: Annotated[bool, typer.Option("--socket", help="The unit of the listening socket, to go with it.")] = False,
) -> None:
    """Print a unit file for systemd.

    sharedmodel systemd models.toml > /etc/systemd/system/sharedmodel.service
    """
    from . import units

    print(units.listening(user=user) if socket else units.service(config, user=user), end="")


app.command(epilog=EPILOG)(run)
app.command(epilog=EPILOG)(download)


def main() -> None:
    """The entry point."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that can't show a character is no failure
    app(prog_name="sharedmodel")


if __name__ == "__main__":
    main()
