"""The host's models by name: each announced at once, loaded off every lock, published when it is ready.

A model with versions is a ward for each, under `NAME@VERSION`; `NAME` is one name more for the default's object.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from sharedmodel.control import described
from sharedmodel.errors import BadArgument
from sharedmodel.objects import Objects, Watch

from .arbiter import Arbiter
from .beat import Beat
from .lease import Leased
from .machine.governor import CPU
from .machine.gpus import Gpus
from .machine.neighbours import Neighbours
from .machine.purse import Purse
from .names import full_name
from .scheduling.calls import Schedule
from .settings import ModelSettings
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
    ) -> None:
        """``folder``: where modules of factories are looked for first; ``watch`` makes who sees a model's calls.

        ``others``: models that are not here, for the error that names those there are.
        ``batches``: whether calls may run together, where a model's settings say so.
        ``purse``: the memory that models must do with; ``gpus``: the GPUs that they may run on; ``neighbours``: the
        hosts that they share these with.
        """
        self._objects = objects
        self._changed = changed
        self._folder = folder
        self._watch = watch
        self._others = others
        self._batches = batches
        self._clock = clock
        self._lock = threading.Lock()
        self._wards: dict[str, Ward] = {}
        self._models: dict[str, ModelSettings] = {}
        self._model_of: dict[str, tuple[str, str | None]] = {}
        self.beat = Beat(self._all, clock)
        self.arbiter = Arbiter(self._all, purse, clock, gpus=gpus, neighbours=neighbours)

    def add(self, name: str, settings: ModelSettings) -> None:
        """Announce a model. Raises BadArgument when the name stands for another one."""
        with self._lock:
            if name in self._models:
                if self._models[name] != settings:
                    raise BadArgument(f"model {name!r} is served already, with other options")
                return
            self._models[name] = settings
            wards = [self._ward(name, version, one) for version, one in settings.by_version.items()]
        for ward in wards:
            self._objects.announce(ward.name, ward.slot.wait)
        if settings.versions:
            self._objects.announce(name, lambda: self._ward_of(name).slot.wait())

    def _remove(self, name: str) -> None:
        with self._lock:
            gone = self._models.pop(name)
            wards = [self._wards.pop(full_name(name, version)) for version in gone.by_version]
            for ward in wards:
                del self._model_of[ward.name]
            self._objects.retract(name, *(ward.name for ward in wards))
        for ward in wards:
            self.arbiter.forget(ward.name)
            ward.leave("it is configured no more")

    def _change(self, name: str, settings: ModelSettings) -> None:
        with self._lock:
            old = self._models[name].by_version
        if old.keys() != settings.by_version.keys():
            self._remove(name)
            self.add(name, settings)
            self.start(name)
            return
        with self._lock:
            before, self._models[name] = self._models[name].default, settings
        for version, one in settings.by_version.items():
            if one != old[version]:
                self.arbiter.forget(full_name(name, version))
                self._wards[full_name(name, version)].change(one)
        if settings.default is not None and settings.default != before:
            self._make_default(self._wards[full_name(name, settings.default)])

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
            ward = self._wards[full]
            if name in (model, full):
                ward.fetch_ahead() if ward.settings.upkeep.lazy else ward.slot.start("with its server")

    def wait(self, name: str, patience: float | None = None) -> dict[str, Any]:
        """What clients should know of a model, once it is loaded. Raises LoadFailed; NotYet after ``patience`` s."""
        return described(self._ward_of(name).slot.wait("asked for by a client", patience))

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
            self._changed()
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
        return all(ward.settled for ward in self._all())

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
            return list(self._wards.values())

    def _ward_of(self, name: Any) -> Ward:
        ward = None
        if isinstance(name, str):
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
            room=self.arbiter.room,
            folder=self._folder,
            clock=self._clock,
        )
        return ward

    def _told(self) -> None:
        self.beat.nudge()
        self.arbiter.nudge()
        try:
            self._changed()
        except Exception:  # whoever brings the news goes on: a load that ended here would be waited for for ever
            logger.exception("how the models stand could not be told")

    def _show(self, ward: Ward, leased: Leased) -> None:
        settings = ward.settings
        leased.schedule = schedule_of(leased, settings, batches=self._batches)
        with self._lock:
            if self._is_here(ward):
                self._objects.put(leased, *self._names(ward.name))

    def _hide(self, ward: Ward) -> None:
        with self._lock:
            if self._is_here(ward):
                self._objects.retract(*self._names(ward.name), keep_announced=True)

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
            found = self._objects.published(ward.name)
            if found is not None:
                self._objects.put(found, model)
            else:  # unloaded again already: the next call loads it
                self._objects.retract(model, keep_announced=True)

    def _names(self, full: str) -> list[str]:
        """The names that an object has: its own, and the model's if it is the default."""
        model, version = self._model_of[full]
        return [full, model] if version is not None and self._models[model].default == version else [full]


def _told_of(default: str | None, wards: dict[str | None, Ward]) -> dict[str, Any]:
    """The state of a model, with those of its versions."""
    told = {version: ward.describe() for version, ward in wards.items()}
    return told[default] if default is None else {**told[default], "default": default, "versions": told}
