"""Clients take turns: who has been served the fewest rows is next.

Each client's account says how far it has been served, on a clock that counts rows. One that comes, or
comes back, begins where that clock stands, or where it was if that is further: nobody saves up turns by
staying away, and nobody loses what it used up by leaving for a moment.

Precedent: start-time fair queueing (Goyal, Vin and Cheng, 1996).
"""

from __future__ import annotations

from collections.abc import Hashable

from .ordered import Ordered


class Account:
    """One client's."""

    __slots__ = ("client", "served", "waiting")

    def __init__(self, client: Hashable, served: int) -> None:
        self.client = client
        self.served = served
        self.waiting = 0


class Accounts:
    """Those of the clients that have jobs waiting, and of those that are ahead of the clock."""

    __slots__ = ("_accounts", "_ahead", "clock", "waiting")

    def __init__(self) -> None:
        self.clock = 0
        self.waiting = 0  # jobs of all of them
        self._accounts: dict[Hashable, Account] = {}
        self._ahead: Ordered[Hashable] = Ordered()

    def __len__(self) -> int:
        return len(self._accounts)

    def join(self, client: Hashable) -> Account:
        """A job of this client waits from now on."""
        account = self._accounts.get(client)
        if account is None:
            account = self._accounts[client] = Account(client, self.clock)
        elif not account.waiting:
            self._ahead.discard(client)
        account.waiting += 1
        self.waiting += 1
        return account

    def leave(self, account: Account) -> None:
        """A job of its does not wait any more."""
        account.waiting -= 1
        self.waiting -= 1
        if not account.waiting:
            self._ahead.put(account.client, account.served)
            self._forget()

    def charge(self, account: Account, rows: int) -> None:
        """It is served so many rows."""
        self.clock = max(self.clock, account.served)
        account.served += rows
        self._forget()

    def _forget(self) -> None:
        while (found := self._ahead.first()) is not None and found[0] <= self.clock:
            self._ahead.discard(found[1])
            del self._accounts[found[1]]
