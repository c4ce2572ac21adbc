"""How much memory may be used, how much of it is, and what each model takes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharedmodel.server.machine.amount import parsed
from sharedmodel.server.machine.budget import CGROUP, CONFIGURED, MACHINE, Budget, budget
from sharedmodel.server.machine.governor import Load, Request, admit
from sharedmodel.server.machine.growth import Growth
from sharedmodel.server.machine.ledger import Ledger
from sharedmodel.server.machine.memory import Account, Memory
from sharedmodel.server.machine.purse import Purse

from .trees import Version2

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


def test_where_the_machine_does_not_tell_its_memory_only_others_limits_count(tmp_path: Path) -> None:
    device = Purse().device(str(tmp_path))
    assert isinstance(admit(Request("net", 64 * GB, 0.0), device, [], 1.0), Load)
    tree = Version2(tmp_path)
    tree.put("proc/meminfo", "")
    tree.group("/pod", {"memory.max": 4 * GB, "memory.current": GB})
    device = Purse().device(str(tree))
    assert (device.budget, device.in_use) == (4 * GB, GB)


@pytest.mark.parametrize("text", ["9" * 400, 10**30, "10000000 TB", str(1 << 63), "0.4", 0])
def test_what_is_no_size_of_a_memory_is_told_to_be_none(text: int | str) -> None:
    with pytest.raises(ValueError, match="4 GiB"):
        parsed(text)


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


def test_a_load_that_runs_alone_took_what_its_process_grew_by() -> None:
    growth = Growth()
    growth.begin("a", 5, 100)
    assert growth.end("a", 140) == 40
    growth.begin("b", 5, 160)  # what came in between is nobody's
    assert growth.end("b", 150) == 0


def test_what_loads_took_together_is_divided_by_what_was_expected_of_them() -> None:
    growth = Growth()
    growth.begin("a", 30, 100)
    growth.begin("b", 10, 120)
    assert growth.end("a", 160) == 20 + 30
    assert growth.end("b", 165) == 10 + 5


def test_what_was_let_go_of_meanwhile_is_no_gain_of_a_load() -> None:
    growth = Growth()
    growth.begin("a", 1, 100)
    growth.begin("b", 1, 40)
    assert (growth.end("b", 60), growth.end("a", 60)) == (10, 10)


def test_in_use_of_a_configured_budget_is_what_the_servers_own_processes_take() -> None:
    found = Purse(GB).device()
    assert found.budget == GB and 0 < found.in_use <= Purse(GB).device(roughly=True).in_use
    assert Purse(GB).limited and Purse(GB).told()["source"] == CONFIGURED
