"""The host's models by name: each announced at once, loaded off every lock, published when it is ready.

A model with versions is a ward for each, under `NAME@VERSION`; `NAME` is one name more for the default's object.
Where another one becomes the default, `NAME` stands for the old one until the new one is ready.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from sharedmodel.control import described
from sharedmodel.errors import BadArgument, UnknownObject
from sharedmodel.objects import Objects, Watch

from .arbiter import Arbiter
from .beat import Beat
from .in_turn import InTurn
from .lease import Leased
from .machine.governor import CPU
from .machine.gpus import Gpus
from .machine.neighbours import Neighbours
from .machine.purse import Purse
from .names import full_name
from .scheduling.calls import Schedule
from .settings import ModelSettings
from .signs import Signs
from .timetable import schedule_of
from .ward import Ward

_OPEN: Final = Purse(open=True)

logger = logging.getLogger("sharedmodel.host")


class Table:
    """The models. ``changed`` hears of every new state, on any thread."""

    def __init__(
        self,
        objects: Objects,
        changed: Callable[[], None] = lambda: None,
        *,
        folder: str | None = None,
        watch: Callable[[str, float | None], Watch] | None = None,
        others: Callable[[], Iterable[str]] = tuple,
        batches: bool = True,
        purse: Purse = _OPEN,
        gpus: Gpus | None = None,
        neighbours: Neighbours | None = None,
        clock: Callable[[], float] = time.monotonic,
        barred: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    ) -> None:
        """``folder``: where modules of factories are looked for first; ``watch`` makes who sees a model's calls.

        ``others``: models that are not here, for the error that names those there are.
        ``batches``: whether calls may run together, where a model's settings say so.
        ``purse``: the memory that models must do with; ``gpus``: the GPUs that they may run on; ``neighbours``: the
        hosts that they share these with. ``barred``: what is to be loaded alone, for how many seconds not, and why.
        """
        self._signs = Signs(objects)
        self._changed = changed
        self._folder = folder
        self._watch = watch
        self._others = others
        self._batches = batches
        self._clock = clock
        # Until when, and why.
        self._barred = {name: (clock() + seconds, why) for name, (seconds, why) in barred.items()}
        self._lock = threading.Lock()
        self._wards: dict[str, Ward] = {}
        self._models: dict[str, ModelSettings] = {}
        self._model_of: dict[str, tuple[str, str | None]] = {}
        self._going: list[Ward] = []  # configured no more; they leave when no name stands for them
        self.beat = Beat(self._all, clock)
        self.arbiter = Arbiter(self._all, purse, clock, gpus=gpus, neighbours=neighbours)
        self._in_turn = InTurn(self._barred, self.arbiter.room)

    def add(self, name: str, settings: ModelSettings) -> None:
        """Announce a model. Raises BadArgument when the name stands for another one."""
        with self._lock:
            if name in self._models:
                if self._models[name] != settings:
                    raise BadArgument(f"model {name!r} is served already, with other options")
                return
            self._models[name] = settings
            wards = [self._ward(name, version, one) for version, one in settings.by_version.items()]
        self._announce(name, *(ward.name for ward in wards))

    def _announce(self, *names: str) -> None:
        for name in names:  # which may be another ward's by the time somebody waits
            self._signs.announce(name, partial(self._awaited, name))

    def _awaited(self, name: str) -> Leased:
        try:
            return self._loaded(name, "called")
        except BadArgument as exc:
            raise UnknownObject(str(exc)) from None

    def _loaded(self, name: str, why: str, patience: float | None = None) -> Leased:
        """The object that a name stands for, loaded if need be; another's where it changes hands meanwhile."""
        while True:
            ward = self._ward_of(name)
            try:
                return ward.slot.wait(why, patience)
            except UnknownObject:
                if self._is_here(ward):
                    raise

    def _remove(self, name: str) -> None:
        with self._lock:
            self._drop(name, self._models.pop(name).by_version)
            self._signs.remove(name)

    def _drop(self, name: str, versions: Iterable[str | None]) -> None:
        """These are configured no more. The model's own name stands for what it stood for."""
        for version in versions:
            ward = self._wards.pop(full_name(name, version))
            del self._model_of[ward.name]
            self._barred.pop(ward.name, None)
            self._going.append(ward)
            if version is not None:
                self._signs.remove(ward.name)

    def _change(self, name: str, settings: ModelSettings) -> None:
        new = settings.by_version
        with self._lock:
            before, self._models[name] = self._models[name], settings
            old = before.by_version
            come = [self._ward(name, version, one) for version, one in new.items() if version not in old]
            self._drop(name, [version for version in old if version not in new])
        self._announce(*(ward.name for ward in come))
        for version, one in new.items():
            if version in old and one != old[version]:
                self.arbiter.forget(full_name(name, version))
                self._barred.pop(full_name(name, version), None)
                self._wards[full_name(name, version)].change(one)
        for ward in come:
            self._begin(ward)
        if settings.default != before.default:
            self._hand_over(name)

    def _hand_over(self, name: str) -> None:
        """The default is another one: the one before it serves until that is ready."""
        ward = self._ward_of(name)
        with self._lock:
            last, served = self._signs.ward(name), self._signs.own(ward)
            if last is ward:
                return
            if served is not None:
                self._signs.put(ward, served, name)
            elif last is None:
                return
            elif (leased := last.slot.served) is not None and last in self._going:
                leased.successor = partial(self._awaited, name)
                ward.stood_in_for = True
        ward.slot.start("it is the default now")

    def apply(self, models: dict[str, ModelSettings]) -> None:
        """Come to these models: only what differs is loaded, loaded anew, or let go of. Doesn't wait for it."""
        with self._lock:
            before = dict(self._models)
        for name in before.keys() - models.keys():
            self._remove(name)
        for name, settings in models.items():
            if name not in before:
                self.add(name, settings)
                self.start(name)
            elif before[name] != settings:
                self._change(name, settings)
        self._told()

    def all_settings(self) -> dict[str, ModelSettings]:
        """What each model is made of."""
        with self._lock:
            return dict(self._models)

    def start(self, name: str) -> None:
        """Begin to load a model, each version of it, except where it is lazy."""
        for full, (model, _) in list(self._model_of.items()):
            if name in (model, full):
                self._begin(self._wards[full])

    @staticmethod
    def _begin(ward: Ward) -> None:
        ward.fetch_ahead() if ward.settings.upkeep.lazy else ward.slot.start("with its server")

    def wait(self, name: str, patience: float | None = None) -> dict[str, Any]:
        """What clients should know of a model, once it is loaded. Raises LoadFailed; NotYet after ``patience`` s."""
        with self._lock:
            # Of the default before, while the one that is it now loads.
            served = self._signs.served(name) if isinstance(name, str) else None
        return described(served or self._loaded(name, "asked for by a client", patience))

    def load(self, name: str, *, default: bool = False) -> dict[str, Any]:
        """Load a model; its state. With ``default`` its version is the model's default from then on.

        Raises LoadFailed (then the default stays what it was).
        """
        ward = self._ward_of(name)
        if default and self._model_of.get(ward.name, ("", None))[1] is None:
            raise BadArgument(f"model {name!r} has no versions, of which one could be the default")
        ward.slot.retry("loaded on request")
        ward.slot.wait("loaded on request")
        if default:
            self._make_default(ward)
            self._told()
        return self.state(name)

    def reload(self, name: str) -> dict[str, Any]:
        """Load a model anew and swap; its state. Raises LoadFailed: then the old one goes on."""
        self._ward_of(name).slot.reload()
        return self.state(name)

    def warm_up(self, name: str) -> dict[str, Any]:
        """Make a model's warm-up calls, loading it if need be; its state. Raises LoadFailed, CanaryFailed."""
        self._ward_of(name).warm_up()
        return self.state(name)

    def unload(self, name: str, why: str = "unloaded on request") -> dict[str, Any]:
        """Let a model go. Calls that run finish, and then it is gone; the next call loads it again. Its state."""
        self._ward_of(name).slot.unload(why)
        return self.state(name)

    def settings(self, name: str) -> tuple[str, ModelSettings]:
        """A model's own name, and what it would be made from again, its default being what it is now."""
        ward = self._ward_of(name)
        with self._lock:
            if ward.name in self._model_of:
                model = self._model_of[ward.name][0]
                return model, self._models[model]
        return self.settings(name)  # it is configured no more: the error that says so, or another of its name

    def state(self, name: str) -> dict[str, Any]:
        """The state of one model, or of one version. Raises BadArgument."""
        ward = self._ward_of(name)
        with self._lock:
            model, version = self._model_of.get(ward.name, (name, None))  # it may be configured no more
            default = version is not None and self._models[model].default == version
        told = {"name": ward.name, **ward.describe()}
        return told if version is None else told | {"model": model, "version": version, "default": default}

    def states(self) -> dict[str, dict[str, Any]]:
        """Each model's state, since when and why; where it has versions that of the default, and of each."""
        with self._lock:
            found = {
                name: (settings.default, {one: self._wards[full_name(name, one)] for one in settings.by_version})
                for name, settings in self._models.items()
            }
        return {name: _told_of(*each) for name, each in found.items()}

    def taken(self) -> dict[str, int]:
        """Bytes that each loaded model takes, as far as is known; versions by their full names."""
        return {ward.name: ward.taken for ward in self._all() if ward.slot.served is not None and ward.taken}

    def placed(self) -> dict[str, list[Any]]:
        """The GPU that each model runs on that runs on one, and the bytes that it takes there, as far as is known."""
        return {
            ward.name: [ward.device, ward.device_taken]
            for ward in self._all()
            if ward.slot.served is not None and ward.device != CPU
        }

    @property
    def settled(self) -> bool:
        """Whether each model that is loaded with the server is ready, or failed."""
        with self._lock:
            wards = list(self._wards.values())
        return all(ward.settled for ward in wards)

    def hurry(self) -> None:
        """No call waits any longer for others to run with: the host is about to end."""
        for ward in self._all():
            served = ward.slot.served
            if served is not None and isinstance(served.schedule, Schedule):
                served.schedule.lanes.hurry()

    def close(self) -> None:
        """Let each model close itself, if it can. For the host's end, when nothing is called any more."""
        for ward in self._all():
            ward.slot.close()

    # -- names -----------------------------------------------------------------------------------------

    def _all(self) -> list[Ward]:
        with self._lock:
            return [*self._wards.values(), *self._going]

    def _ward_of(self, name: Any) -> Ward:
        ward = None
        if isinstance(name, str):
            with self._lock:
                settings = self._models.get(name)
                ward = self._wards.get(name if settings is None else full_name(name, settings.default))
        if ward is None:
            known = ", ".join(sorted({*self._models, *self._wards, *self._others()})) or "none"
            raise BadArgument(f"no model {name!r} here; there are: {known}")
        return ward

    def _ward(self, name: str, version: str | None, settings: ModelSettings) -> Ward:
        full = full_name(name, version)
        self._model_of[full] = (name, version)
        ward = self._wards[full] = Ward(
            full,
            settings,
            show=lambda leased: self._show(ward, leased),
            hide=lambda: self._hide(ward),
            changed=self._told,
            watch=self._watch,
            room=self._in_turn.room,
            folder=self._folder,
            clock=self._clock,
        )
        until, why = self._barred.get(full, (0.0, ""))
        if (seconds := until - self._clock()) > 0.0:
            ward.slot.bar(seconds, why)
        return ward

    def _told(self) -> None:
        self._dismiss()
        self.beat.nudge()
        self.arbiter.nudge()
        try:
            self._changed()
        except Exception:  # whoever brings the news goes on: a load that ended here would be waited for for ever
            logger.exception("how the models stand could not be told")

    def _dismiss(self) -> None:
        """Let go of what is configured no more and what no name stands for any more."""
        with self._lock:
            over = [ward for ward in self._going if not self._signs.of(ward)]
            self._going = [ward for ward in self._going if ward not in over]
        for ward in over:
            self.arbiter.forget(ward.name)
            try:
                ward.leave("it is configured no more")
            except RuntimeError as exc:  # no further threads for this user, or in this container
                logger.warning("model %s is not let go of yet: %s", ward.name, exc)
                with self._lock:
                    self._going.append(ward)

    def _show(self, ward: Ward, leased: Leased) -> None:
        settings = ward.settings
        leased.schedule = schedule_of(leased, settings, batches=self._batches)
        with self._lock:
            if names := self._names(ward):
                self._signs.put(ward, leased, *names)

    def _hide(self, ward: Ward) -> None:
        with self._lock:
            self._signs.hide(*self._signs.of(ward))

    def _is_here(self, ward: Ward) -> bool:
        """Whether it is configured still. Another may have its name by now."""
        return self._wards.get(ward.name) is ward

    def _make_default(self, ward: Ward) -> None:
        with self._lock:
            if not self._is_here(ward):
                return
            model, version = self._model_of[ward.name]
            assert version is not None
            self._models[model] = self._models[model].with_default(version)
            found = self._signs.own(ward)
            if found is not None:
                self._signs.put(ward, found, model)
            else:  # unloaded again already: the next call loads it
                self._signs.hide(model)

    def _names(self, ward: Ward) -> list[str]:
        """The names that its object should have: its own, and the model's if it is the default."""
        if not self._is_here(ward):
            return self._signs.of(ward)
        model, version = self._model_of[ward.name]
        is_default = version is not None and self._models[model].default == version
        return [ward.name, model] if is_default else [ward.name]


def _told_of(default: str | None, wards: dict[str | None, Ward]) -> dict[str, Any]:
    """The state of a model, with those of its versions."""
    told = {version: ward.describe() for version, ward in wards.items()}
    return told[default] if default is None else {**told[default], "default": default, "versions": told}
