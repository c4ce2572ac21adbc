"""From a model's settings to its object, and to the calls that tell whether it is fit to serve."""

from __future__ import annotations

import sys
from typing import Any, Final

from sharedmodel.errors import BadArgument
from sharedmodel.objects import public_methods

from .canary import Canary, Probe
from .kinds import DETAILS, adapter, fed, resolve
from .lease import Leased
from .machine.governor import CPU
from .machine.seat import Seat
from .settings import ModelSettings, ProbeSettings

_HERE: Final = Seat()


def make(name: str, settings: ModelSettings, folder: str | None, seat: Seat = _HERE) -> Leased:
    """Construct it. ``folder``: where the module of a factory is looked for first. ``seat``: where it is to run;
    a factory whose settings name a device is given the one that was chosen, as its keyword argument `device`.

    Raises whatever its constructor raises, and BadArgument when it has not the methods that are asked for.
    """
    if settings.kind is not None:
        on = {} if seat.device == CPU else {"device": seat.device, "device_memory": seat.memory}
        return _of_kind(name, settings.kind, {**on, **settings.options})
    assert settings.factory is not None
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    on = {} if settings.device is None else {"device": seat.device}
    obj = resolve(settings.factory)(*settings.args, **settings.kwargs, **on)
    exposed = settings.exposed
    if exposed is None:
        exposed = [method for method in public_methods(obj) if method != "close"]
    _must_have(obj, [*exposed, *settings.idempotent], settings.factory)
    leased = Leased(name, name, obj, exposed)
    leased.idempotent = frozenset(settings.idempotent)
    leased.info = {"kind": settings.factory, "state": "ready"}
    if len(exposed) == 1:
        leased.info["default"] = exposed[0]
    return leased


def canaries(leased: Leased, settings: ModelSettings) -> list[Canary]:
    """Those of its configuration, else its adapter's own. Raises BadArgument for a method that it has not."""
    wanted = settings.upkeep.canary
    exact = settings.device in (None, CPU)  # kernels of a GPU may add in another order each time
    if wanted is not None:
        return [Canary(_probe(leased, settings, probe), exact=exact) for probe in wanted]
    probe = _own(leased, settings, "canary")
    return [] if probe is None else [Canary(Probe(**probe), exact=exact)]


def warmups(leased: Leased, settings: ModelSettings) -> list[Canary]:
    """The calls to make before callers come: those of its configuration, else its adapter's own, which one has on a
    GPU. Raises BadArgument as `canaries`."""
    wanted = settings.upkeep.warmup
    if not wanted and (probe := _own(leased, settings, "warmup")) is not None:
        return [Canary(Probe(**probe), "warm-up")]
    return [Canary(_probe(leased, settings, probe), "warm-up") for probe in wanted]


def _own(leased: Leased, settings: ModelSettings, what: str) -> dict[str, Any] | None:
    """A call that an adapter offers; a factory's object owes nothing, whatever its methods are called."""
    offers = getattr(leased.obj, what, None) if settings.kind is not None else None
    found: dict[str, Any] | None = None if offers is None else offers()
    return found


def _of_kind(name: str, kind: str, options: dict[str, Any]) -> Leased:
    details = DETAILS[kind]
    leased = Leased(name, name, adapter(kind)(**options), details.exposed)
    leased.idempotent = frozenset(details.idempotent)
    leased.info = {
        "kind": kind,
        "state": "ready",
        "default": details.default,
        "files": details.files_of(options),
    }
    return leased


def _probe(leased: Leased, settings: ModelSettings, given: ProbeSettings) -> Probe:
    method = given.method or leased.info.get("default")
    if method is None:
        raise BadArgument(f"its canary or warm-up does not say which `method` it calls; {_having(leased.obj)}")
    _must_have(leased.obj, [method], settings.kind or settings.factory or "")
    return Probe(method, *fed(settings.kind, method, given.args, given.kwargs), given.expect)


def _must_have(obj: Any, methods: list[str], maker: str) -> None:
    for method in methods:
        if not callable(getattr(obj, method, None)):
            raise BadArgument(f"what {maker} returned has no method {method!r}; {_having(obj)}")


def _having(obj: Any) -> str:
    return f"it has: {', '.join(public_methods(obj)) or 'none'}"
