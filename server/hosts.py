"""The hosts of one server: which there are, where their models are found, and what changes with the settings."""

from __future__ import annotations

import dataclasses
import logging
import os
import selectors
from bisect import insort
from collections.abc import Callable, Iterator
from typing import Any

from sharedmodel.board import Board
from sharedmodel.errors import BadArgument

from . import messages
from .death import Death
from .instances import merged
from .keeper import NEVER, Keeper, Report
from .layout import FIRST, hosts_of, isolated, planned, posts
from .machine.cores import cores
from .machine.neighbours import MOST, Neighbours
from .place import QUARANTINE, Place
from .settings import Settings
from .suspects import Suspects

logger = logging.getLogger("sharedmodel.supervisor")


class Hosts:
    """A keeper for each post (see `layout`)."""

    def __init__(
        self,
        place: Place,
        selector: selectors.BaseSelector,
        report: Report,
        ended: Callable[[Keeper, Death], None],
    ) -> None:
        self._place = place
        self._selector = selector
        self._report = report
        self._ended = ended
        self._keepers: dict[str, Keeper] = {}
        self._going: list[Keeper] = []  # retired, and not gone yet
        self._settings = Settings()
        self._board: Board | None = None
        self._neighbours = Neighbours.create()
        self._numbers = list(range(MOST))  # that no host has
        self._started = False
        self._suspects = Suspects()

    def __iter__(self) -> Iterator[Keeper]:
        return iter(self._keepers.values())

    @property
    def first(self) -> Keeper:
        """The one that every client asks."""
        return self._keepers[FIRST]

    def apply(self, settings: Settings) -> None:
        """Come to what the settings ask for: only what differs is ended, changed or begun.

        Raises OSError or BadArgument where a new host's socket can't be made; nothing has changed then.
        """
        settings = planned(settings, cores().usable)
        wanted = {post.name: post.settings(settings) for post in posts(settings)} | {QUARANTINE: settings}
        begun = self._begun({name: own for name, own in wanted.items() if name not in self._keepers})
        self._settings = settings
        for name in [name for name in self._keepers if name not in wanted]:
            keeper = self._keepers.pop(name)
            keeper.dismiss("its models are configured no more")
            self._going.append(keeper)
        self._keepers.update(begun)
        self.first.elsewhere = self._elsewhere()
        for name, keeper in self._keepers.items():
            if keeper.settings != wanted[name]:
                keeper.change(wanted[name])
        self._spread()
        if self._started:
            for keeper in begun.values():
                keeper.start()

    def _begun(self, wanted: dict[str, Settings]) -> dict[str, Keeper]:
        if len(wanted) > len(self._numbers):
            raise BadArgument(f"these settings ask for more hosts than there can be, {MOST}")
        found: dict[str, Keeper] = {}
        try:
            for name, settings in wanted.items():
                found[name] = self._keeper(name, settings)
        except BaseException:
            for keeper in found.values():
                self._let_go(keeper)
            raise
        return found

    def _keeper(self, name: str, settings: Settings) -> Keeper:
        addressed = name not in (FIRST, QUARANTINE)
        if addressed and self._board is None:
            self._board = Board.create(self._place.board)
        number = self._numbers[0]
        neighbours = Neighbours(self._neighbours, number)
        keeper = Keeper(name, self._place, settings, self._selector, self._report, self._died)
        del self._numbers[0]  # now that nothing can fail any more
        keeper.neighbours = neighbours
        neighbours.clear()
        if addressed:
            keeper.board, keeper.cell = self._board, number
        return keeper

    def start(self) -> None:
        self._started = True
        for keeper in self:
            keeper.start()

    def _died(self, keeper: Keeper, death: Death) -> None:
        self._suspects.died(death.pid, death.reason, [list(call) for call in death.executing])
        for other in self:
            other.deaths = self._suspects.told()
            other.tell(messages.DEATHS, other.deaths)
        self.spread(keeper)
        self._ended(keeper, death)

    def serves(self, keeper: Keeper) -> None:
        """Its host listens from now on: it has not heard what was said since it was started."""
        keeper.tell(messages.DEATHS, keeper.deaths)
        self.spread(keeper)

    def spread(self, keeper: Keeper) -> None:
        """Tell the first host how the models of others stand: ``keeper``'s may have changed, or it is new."""
        if not keeper.retired:
            self._spread()

    def _spread(self) -> None:
        first = self.first
        first.elsewhere = self._elsewhere()
        first.tell(messages.ELSEWHERE, first.elsewhere)

    def _elsewhere(self) -> dict[str, Any]:
        return {name: self._told(name) for name in self._settings.models if isolated(self._settings, name)}

    def _told(self, model: str) -> dict[str, Any]:
        keepers = [self._keepers[host] for host in hosts_of(self._settings, model) if host in self._keepers]
        return {
            "state": self.models()[model],
            "settings": dataclasses.asdict(self._settings.models[model]),
            "addresses": [keeper.address for keeper in keepers],
            "cells": [keeper.cell for keeper in keepers],
            "board": self._place.board,
            "directory": self.first.address,
        }

    def models(self) -> dict[str, Any]:
        """Every model's state; of several instances that of the best, how many are ready, and why others are not."""
        found: dict[str, Any] = {}
        for keeper in self:
            for name, told in keeper.models().items() if keeper.name != QUARANTINE else ():
                found.setdefault(name, []).append({**told, "host": keeper.name})
        return {name: merged(instances) for name, instances in found.items()}

    def threads(self) -> dict[str, int]:
        """The thread plan: how many each instance of a model may use."""
        return dict(self._settings.threads)

    def restart(self, why: str) -> None:
        for keeper in self:
            keeper.restart(why)

    def retire(self, why: str, hurry: bool = False) -> None:
        """End them all for good."""
        for keeper in [*self, *self._going]:
            keeper.retire(why, hurry)

    @property
    def gone(self) -> bool:
        """Whether all are retired and ended."""
        return all(keeper.gone for keeper in [*self, *self._going])

    @property
    def due(self) -> float:
        return min((keeper.due for keeper in [*self, *self._going]), default=NEVER)

    def expire(self, now: float) -> None:
        for keeper in [*self, *self._going]:
            if keeper.due <= now:
                keeper.expire(now)
        for keeper in [keeper for keeper in self._going if keeper.gone]:
            self._going.remove(keeper)
            self._let_go(keeper)

    def _let_go(self, keeper: Keeper) -> None:
        keeper.close()
        insort(self._numbers, keeper.neighbours.number)

    def close(self) -> None:
        for keeper in [*self, *self._going]:
            keeper.close()
        os.close(self._neighbours)
        if self._board is not None:
            self._place.unlink(self._place.board)
