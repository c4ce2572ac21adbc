"""Whether a model may be loaded now: memory as a budget for each device. Pure.

    load fits                                        Load
    it would, without models that are idle           MakeRoom: unload these, then ask again
    it would, when others are done                   Wait: ask again when one of them is, or at `until`
    it never would, or has waited long enough        Refuse: the error, with the numbers

The main memory is a device like any other, called "cpu". A model that takes memory of two devices asks for
each of them, and loads when both say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sharedmodel.errors import NotEnoughMemory

from .amount import size

CPU: Final = "cpu"


class Model(NamedTuple):
    """A model that is loaded, or loading. ``taken``: bytes, or what it will take. ``running``: calls.
    ``keep``: never unloaded to make room. ``used``: when it was last called, or loaded. ``host``: the number of another
    host that has it, None: this one."""

    name: str
    taken: int
    device: str = CPU
    loading: bool = False
    running: int = 0
    keep: bool = False
    used: float = 0.0
    host: int | None = None


class Device(NamedTuple):
    """Bytes. ``in_use``: as measured, by whomever."""

    name: str
    budget: int
    in_use: int = 0


class Request(NamedTuple):
    """A load that is asked for: what it will take, and since when it waits."""

    name: str
    need: int
    since: float


class Rules(NamedTuple):
    """Seconds. ``patience``: how long a load may wait for room. ``settle``: how long a model is left alone after
    its last use, or two that don't fit together would unload each other before they were ever called."""

    patience: float = 30.0
    settle: float = 1.0


@dataclass(frozen=True)
class Load:
    """Go on."""


@dataclass(frozen=True)
class MakeRoom:
    """Unload these, the longest unused first, then ask again: memory may not come back in full. ``ask``: models of
    other hosts, which unload them if they are still idle."""

    unload: tuple[str, ...]
    ask: tuple[Model, ...] = ()


@dataclass(frozen=True)
class Wait:
    """Ask again when one of these models has changed, at ``until`` at the latest."""

    waits_for: tuple[str, ...]
    until: float


@dataclass(frozen=True)
class Refuse:
    """Raise this."""

    error: NotEnoughMemory


Decision = Load | MakeRoom | Wait | Refuse
_RULES: Final = Rules()
_BEST: Final = (Load, MakeRoom, Wait, Refuse)


def admit(request: Request, device: Device, models: Iterable[Model], now: float, rules: Rules = _RULES) -> Decision:
    """What to do about a load. ``models``: all others that are loaded or loading, its own old copy too.

    A load of the same model that was abandoned counts as what it has taken by now, or one that hangs would wedge it.
    """
    models = [model for model in models if not (model.loading and model.name == request.name and model.host is None)]
    here = sorted((model for model in models if model.device == device.name), key=_age)
    missing = request.need - (device.budget - in_use(device, here))
    if missing <= 0:
        return Load()
    others = [model for model in here if not model.keep and model.name != request.name]
    unload = least_used(idle(others, now, rules), missing)
    if unload is not None:
        own = tuple(model.name for model in unload if model.host is None)
        return MakeRoom(own, tuple(model for model in unload if model.host is not None))
    fits = _may_fit(request, device, here, others)
    deadline = request.since + rules.patience
    if not fits or now >= deadline:
        return Refuse(_error(request, device, here, others, fits))
    settled = [model.used + rules.settle for model in others if not model.loading and not model.running]
    until = min([deadline, *(at for at in settled if at > now)])
    busy = (model for model in here if model.loading or model in others)
    return Wait(tuple(model.name for model in busy if not _is_idle(model, now, rules)), until)


def place(
    request: Request, devices: Sequence[Device], models: Sequence[Model], now: float, rules: Rules = _RULES
) -> tuple[str, Decision]:
    """The best of the devices, at least one, and what to do there: load before making room before waiting;
    then where there is most room; then in the order given."""

    def rank(pair: tuple[Device, Decision]) -> tuple[int, int]:
        device, decision = pair
        here = [model for model in models if model.device == device.name]
        return _BEST.index(type(decision)), in_use(device, here) - device.budget

    decided = [(device, admit(request, device, models, now, rules)) for device in devices]
    device, decision = min(decided, key=rank)
    return device.name, decision


def both(one: Decision, other: Decision) -> Decision:
    """What to do about a load that asks for two devices: room is made only when neither says to wait, or never."""
    return max(one, other, key=lambda decision: _BEST.index(type(decision)))


def in_use(device: Device, models: Iterable[Model]) -> int:
    """Bytes that are gone: as measured or as known, whichever is more, and what is being loaded besides.

    What a load has taken already counts twice until it is done. That errs on the safe side, and briefly.
    """
    held = coming = 0
    for model in models:
        held, coming = (held, coming + model.taken) if model.loading else (held + model.taken, coming)
    return max(device.in_use, held) + coming


def idle(models: Iterable[Model], now: float, rules: Rules = _RULES) -> list[Model]:
    """Those that may be unloaded now."""
    return [model for model in models if not model.keep and _is_idle(model, now, rules)]


def least_used(models: Iterable[Model], missing: int) -> tuple[Model, ...] | None:
    """Which to unload for ``missing`` bytes: the longest unused, and none of them in vain. None: not enough."""
    chosen: list[Model] = []
    total = 0
    for model in sorted(models, key=_age):
        if total < missing:
            chosen.append(model)
            total += model.taken
    if total < missing:
        return None
    for model in reversed(chosen[:]):  # one that came late may make those before it unnecessary
        if total - model.taken >= missing:
            chosen.remove(model)
            total -= model.taken
    return tuple(chosen)


def _age(model: Model) -> tuple[float, str, int]:
    return model.used, model.name, -1 if model.host is None else model.host


def _is_idle(model: Model, now: float, rules: Rules) -> bool:
    return not model.loading and not model.running and now >= model.used + rules.settle


def _may_fit(request: Request, device: Device, here: list[Model], others: list[Model]) -> bool:
    """Whether it would fit if all the others were gone."""
    if any(model.loading for model in here):
        # What a load takes is not measured yet: only what stays for certain counts.
        fixed = sum(model.taken for model in here if model not in others)
    else:
        fixed = in_use(device, here) - sum(model.taken for model in others)
    return request.need <= device.budget - fixed


def _error(request: Request, device: Device, here: list[Model], others: list[Model], fits: bool) -> NotEnoughMemory:
    used, freeable = in_use(device, here), sum(model.taken for model in others)
    text = (
        f"model {request.name!r} needs {size(request.need)} on {device.name}, where {size(used)} of the budget of"
        f" {size(device.budget)} are in use"
    )
    names = ", ".join(model.name for model in others)
    if fits:
        text += f"; it waited for {names}, which stayed busy: try again, or raise the limit"
    elif others:
        text += f"; unloading {names} would free {size(freeable)}, too little: serve fewer models, or raise the limit"
    else:
        text += "; nothing could be unloaded for it: serve fewer models, or raise the limit"
    return NotEnoughMemory(text, request.need, used, device.budget, freeable)
