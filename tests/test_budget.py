"""How much memory may be used, how much of it is, and what each model takes of it."""

from __future__ import annotations

import pytest

from sharedmodel.server.machine.budget import CGROUP, CONFIGURED, MACHINE, Budget, budget
from sharedmodel.server.machine.ledger import Ledger
from sharedmodel.server.machine.memory import Account, Memory

GB = 1 << 30


@pytest.mark.parametrize(
    ("limit", "configured", "expected"),
    [
        (None, None, Budget(18 * GB, MACHINE, 2 * GB)),
        (8 * GB, None, Budget(8 * GB, CGROUP)),
        (8 * GB, 4 * GB, Budget(4 * GB, CONFIGURED)),
        (64 * GB, None, Budget(18 * GB, MACHINE, 2 * GB)),
    ],
)
def test_the_budget_is_what_was_configured_else_the_tightest_limit(
    limit: int | None, configured: int | None, expected: Budget
) -> None:
    accounts = () if limit is None else (Account("g", limit, 0, 0),)
    assert budget(Memory(20 * GB, 19 * GB, accounts), configured) == expected


def test_what_others_hold_counts_as_in_use() -> None:
    free = Memory(20 * GB, 20 * GB, (Account("g", 8 * GB, 3 * GB, GB),))
    assert budget(free).in_use(free) == 2 * GB
    assert budget(free).in_use(free, own=5 * GB) == 5 * GB
    crowded = free._replace(available=GB)
    assert budget(crowded).in_use(crowded) == 7 * GB
    assert budget(free, 4 * GB).in_use(free, own=GB) == GB
    alone = Memory(20 * GB, 15 * GB, ())
    assert budget(alone).in_use(alone) == 5 * GB


def test_a_model_takes_what_was_measured_and_before_that_what_is_thought() -> None:
    ledger = Ledger()
    assert ledger.need("a", 70) == 70
    ledger.loaded("a", before=10, after=60)
    ledger.loaded("a", before=60, after=50)
    assert ledger.need("a", 70) == 50
    ledger.grew("a", 90)
    ledger.grew("a", 20)
    assert ledger.need("a", 70) == 90
    ledger.forget("a")
    assert ledger.need("a", 70) == 70
