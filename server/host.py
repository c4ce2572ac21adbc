"""The host process: ``python -m sharedmodel.server.host DIRECTORY``, started by its supervisor only.

It answers clients from its first moment; models load meanwhile, each on its own thread, and calls to
one that is loading wait for it.
"""

from __future__ import annotations

import atexit
import faulthandler
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sharedmodel import failure, reply, stored
from sharedmodel.board import Board, Load
from sharedmodel.call import Call
from sharedmodel.entry import Entry, Limits
from sharedmodel.objects import Objects
from sharedmodel.service import Service

from . import directory, logs, messages
from .boot import Boot
from .elsewhere import Elsewhere
from .journal import Journal
from .layout import instance_of
from .machine.gpus import Gpus
from .machine.neighbours import Neighbours
from .machine.purse import Purse
from .messages import Messages
from .metrics.meter import Meter
from .metrics.traces import traces
from .place import QUARANTINE, Place
from .report import News, Reporter
from .settings import Settings
from .suspects import Deaths
from .table import Table
from .tether import end_with
from .watch import Guard

QUARANTINE_IDLE: Final = 30.0

logger = logging.getLogger("sharedmodel.host")


def main() -> int:
    boot = Boot.from_stdin()
    end_with(boot.supervisor, boot.tether if boot.tether >= 0 else None)
    logs.set_up(
        f"host {boot.name}".rstrip(),
        boot.settings.log_level,
        boot.settings.log_format,
        lambda: reply.current.call,
    )
    faulthandler.enable()
    for fd in boot.descriptors:
        os.set_inheritable(fd, False)
    reporter = Reporter(Messages(socket.socket(fileno=boot.lifeline)))
    try:
        return _serve(boot, reporter)
    except Exception as exc:
        logger.exception("the host can't go on")
        reporter.say(messages.FATAL, failure.headline(exc))
        return 1


def _serve(boot: Boot, reporter: Reporter) -> int:
    settings = boot.settings
    alone = boot.name == QUARANTINE  # loads what is asked for, and runs one call at a time
    raise_descriptor_limit()
    objects = Objects()
    guard = Guard(Journal(boot.journal), alone=alone)
    elsewhere = Elsewhere(boot.elsewhere)
    table = Table(
        objects,
        lambda: reporter.changed(table),
        folder=settings.folder,
        watch=guard.watch,
        others=elsewhere.names,
        batches=not alone,
        purse=_purse(boot),
        gpus=Gpus(settings.devices, boot.supervisor, instance_of(boot.name)),
        neighbours=Neighbours(boot.neighbours, boot.number),
        barred=boot.barred,
    )
    service = Service(
        socket.socket(fileno=boot.listener),
        objects,
        authkey=_authkey(settings),
        entry=Entry(frozenset({os.geteuid()}), settings.group),
        limits=_limits(settings),
    )
    reporter.meter = Meter(objects)
    service.meter = _both(reporter.meter.ended, traces(objects, boot.name))
    service.info.update(embedded=settings.embedded, config=settings.config_file, supervisor=boot.supervisor)
    deaths = Deaths(boot.deaths, Place(boot.directory).quarantine)
    if boot.cell is not None:
        service.load = reporter.load = Load(Board.open(Place(boot.directory).board, writable=True), boot.cell)
    for name, model in settings.models.items():
        table.add(name, model)
    _publish_directory(objects, table, boot, reporter, elsewhere, deaths)
    objects.publish(stored.HANDLES, stored.Handles(objects, service.limits.request_bytes), exposed=stored.EXPOSED)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    if not alone:
        for name in settings.models:
            table.start(name)
        table.beat.start()
        table.arbiter.start()
    service.start()
    news: News = {
        messages.ELSEWHERE: elsewhere.update,
        messages.DEATHS: deaths.update,
        messages.MODELS: lambda *told: _come_to(reporter, table, elsewhere, *told),
    }
    reporter.start(service, table, news, QUARANTINE_IDLE if alone else settings.idle_exit)
    guard.start(lambda what: reporter.say(messages.STUCK, what), lambda: reporter.say(messages.BEAT))
    service.wait()
    reporter.stop()
    _finish(service, table, settings.grace)
    return 0


def _come_to(
    reporter: Reporter,
    table: Table,
    elsewhere: Elsewhere,
    models: dict[str, dict[str, Any]],
    number: int,
    others: dict[str, Any],
) -> None:
    with elsewhere.changing:
        reporter.models(table, models, number)
        elsewhere.update(others)


def _publish_directory(
    objects: Objects, table: Table, boot: Boot, reporter: Reporter, elsewhere: Elsewhere, deaths: Deaths
) -> None:
    def loaded(name: str, fields: dict[str, Any]) -> None:
        reporter.say(messages.LOADED, name, fields)

    objects.publish(
        directory.NAME,
        directory.Directory(
            table,
            elsewhere,
            deaths,
            embedded=boot.settings.embedded,
            loaded=loaded,
            runtime_dir=boot.directory,
            config=boot.settings.config_file,
        ),
        exposed=directory.EXPOSED,
        idempotent=directory.IDEMPOTENT,
    )


def _purse(boot: Boot) -> Purse:
    """An embedded host is part of its user's program: that would load without asking, unless there is a limit."""
    purse = Purse(boot.settings.memory, boot.supervisor)
    return purse._replace(open=boot.settings.embedded and not purse.limited)


def _finish(service: Service, table: Table, grace: float) -> None:
    """Let running calls end, then the models. The supervisor ends what takes longer than it allows."""
    table.beat.stop()
    table.arbiter.stop()
    table.hurry()
    closing = threading.Thread(target=service.close, args=(grace,), daemon=True)
    closing.start()
    closing.join(min(grace, threading.TIMEOUT_MAX))
    table.close()


def _both(count: Callable[[Call], None], trace: Callable[[Call], None] | None) -> Callable[[Call], None]:
    if trace is None:
        return count

    def ended(call: Call) -> None:
        count(call)
        trace(call)

    return ended


def raise_descriptor_limit() -> None:
    """Each session takes a few descriptors: allow as many as may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _authkey(settings: Settings) -> bytes | None:
    if settings.authkey_file is None:
        return None
    return Path(settings.authkey_file).read_bytes().strip()


def _limits(settings: Settings) -> Limits:
    given = {name: getattr(settings, name) for name in ("sessions", "request_bytes", "reply_quota")}
    return Limits(**{name: value for name, value in given.items() if value is not None})


def _exit(code: int) -> None:
    """End without tearing the interpreter down: native threads of a model may still be running in it."""
    atexit._run_exitfuncs()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _exit(main())
