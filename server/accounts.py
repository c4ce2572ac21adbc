"""What the models of a host take of each device, and what there is of it: of the main memory, and of GPUs.

    cpu       every model takes some of it
    cuda:0    those models that run there; what one took on a GPU it is expected to take on any

A load asks for both devices, if it has two, and begins when both say so. What it took is by how much the process grew,
here and there; where nvidia-smi does not see the process, by how much more of the GPU was in use, by whomever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .kinds import DETAILS
from .machine.amount import size
from .machine.estimate import LEAST, estimate
from .machine.governor import CPU, Decision, Load, Model, Request, Rules, admit, both, in_use, place
from .machine.gpus import Gpus, Reading
from .machine.growth import Growth
from .machine.ledger import Ledger
from .machine.purse import Purse
from .machine.seat import CUDA, Seat
from .settings import ModelSettings

if TYPE_CHECKING:
    from .ward import Ward

_HERE: Final = Seat()


class Wish(NamedTuple):
    """A load that is asked for, since when: bytes of the main memory, and of a GPU where ``device`` is not "cpu"."""

    name: str
    device: str
    need: int
    gpu_need: int
    since: float

    def __str__(self) -> str:
        on_gpu = "" if self.device == CPU else f", and {size(self.gpu_need)} on {self.device}"
        return f"{self.name}, which needs {size(self.need)}{on_gpu}"


class Stay:
    """A load that was let in: of which model, where it is, and what it will take of each device.

    Not a name: a model that is configured no more may still load when another has its name, and of one model one
    load may be under way that was abandoned, beside another.
    """

    def __init__(self, ward: Ward, seat: Seat, needs: dict[str, int]) -> None:
        self.ward = ward
        self.seat = seat
        self.needs = needs


class Accounts:
    """Of one host. Not thread-safe: they belong to whoever decides about loads."""

    def __init__(self, purse: Purse, gpus: Gpus) -> None:
        self.gpus = gpus
        self._purse = purse
        self._ledger = Ledger()
        self._gpu_ledger = Ledger()
        self._growths: dict[str, Growth] = {}  # by what is measured: "cpu", "cuda:0", "cuda:0 own"
        self._coming: list[Stay] = []

    def coming(self) -> list[Model]:
        """The loads under way."""
        return [
            Model(stay.ward.name, need, device, loading=True)
            for stay in self._coming
            for device, need in stay.needs.items()
        ]

    def loads(self, ward: Ward) -> bool:
        """Whether a load of it is under way."""
        return any(stay.ward is ward for stay in self._coming)

    def forget(self, name: str) -> None:
        """A model is another one from now on."""
        self._ledger.forget(name)
        self._gpu_ledger.forget(name)

    def wish(self, ward: Ward, since: float) -> Wish:
        """What a load asks for. It looks at files: not to be asked again and again."""
        expects, device = expected(ward.settings), ward.settings.device or CPU
        gpu_need = 0 if device == CPU else self._gpu_ledger.need(ward.name, expects)
        return Wish(ward.name, device, self._ledger.need(ward.name, expects), gpu_need, since)

    def decide(self, wish: Wish, models: list[Model], now: float, rules: Rules) -> tuple[Seat, Decision]:
        """Where the model is to be, and what to do about that now. Raises BadArgument for a device that there is not.

        ``models``: those of this host, looked at before; else one that is just gone would count without being there.
        """
        main: Decision = Load()
        if not self._purse.open:
            main = admit(Request(wish.name, wish.need, wish.since), self._purse.device(), models, now, rules)
        if wish.device == CPU:
            return _HERE, main
        reading, decision = self._placed(wish, models, now, rules)
        return Seat(reading.device.name, reading.device.budget), both(main, decision)

    def _placed(self, wish: Wish, models: list[Model], now: float, rules: Rules) -> tuple[Reading, Decision]:
        request = Request(wish.name, wish.gpu_need, wish.since)
        found = self.gpus.any() if wish.device == CUDA else [self.gpus.named(wish.device)]
        if self._purse.open:
            return max(found, key=lambda reading: _left(reading, models)), Load()
        # Other instances of the model, in hosts of their own, choose at the same time.
        chosen = self.gpus.first is not None
        if chosen and isinstance(admit(request, found[0].device, models, now, rules), Load):
            return found[0], Load()
        name, decision = place(request, [reading.device for reading in found], models, now, rules)
        return next(reading for reading in found if reading.device.name == name), decision

    def begin(self, ward: Ward, wish: Wish, seat: Seat) -> Stay:
        """A load begins, and will be there."""
        needs = {CPU: wish.need}
        if seat.device != CPU:
            # Of what nobody knows something all the same: several that begin at once shall not all choose one GPU.
            needs[seat.device] = wish.gpu_need or LEAST
        stay = Stay(ward, seat, needs)
        self._coming.append(stay)
        ward.seat = seat
        for what, measured in self._measured(seat.device).items():
            need = needs.get(what, needs[seat.device])
            self._growths.setdefault(what, Growth()).begin(stay, need or LEAST, measured)
        return stay

    def end(self, stay: Stay, *, done: bool) -> None:
        """A load is over. ``done``: the model is loaded, and what it took is known from now on."""
        self._coming.remove(stay)
        ward, device = stay.ward, stay.seat.device
        now = self._measured(device)
        grown = {what: self._growths[what].end(stay, measured) for what, measured in now.items()}
        if not done:
            return
        self._ledger.loaded(ward.name, 0, grown[CPU])
        ward.taken = self._ledger.need(ward.name, 0)
        ward.device, ward.device_taken = device, 0
        if device != CPU:
            self._gpu_ledger.loaded(ward.name, 0, grown[_own(device) if now[_own(device)] else device])
            ward.device_taken = self._gpu_ledger.need(ward.name, 0)

    def _measured(self, device: str) -> dict[str, int]:
        found = {CPU: self._purse.own()}
        if device == CPU:
            return found
        here = next((reading for reading in self.gpus.look() if reading.device.name == device), None)
        used, own = (0, 0) if here is None else (here.used, here.own)
        return {**found, device: used, _own(device): own}


def expected(settings: ModelSettings) -> int:
    """What a model will take that was never loaded: by its files, 0 where it has none of its own."""
    kind = None if settings.kind is None else DETAILS[settings.kind]
    # What a library makes is where it keeps all of its models.
    options = () if kind is None else [key for key in kind.paths if key not in kind.made]
    files = [path for key in options if isinstance(path := settings.options.get(key), str)]
    return estimate(files) if files else 0


def _own(device: str) -> str:
    return f"{device} own"


def _left(reading: Reading, models: list[Model]) -> int:
    device = reading.device
    return device.budget - in_use(device, [model for model in models if model.device == device.name])
