"""What the kernel's files say of a machine, under either version of the control groups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sharedmodel.server.machine.cgroup import groups
from sharedmodel.server.machine.cores import cores
from sharedmodel.server.machine.estimate import LEAST, estimate
from sharedmodel.server.machine.limits import Limit, limits, shared_memory
from sharedmodel.server.machine.memory import UNKNOWN, Account, memory
from sharedmodel.server.machine.oom import RECENT, Events, Kills, Recent, events, kills, kills_all
from sharedmodel.server.machine.pressure import Pressure, Stall, pressure

from .trees import GB, Tree, Version1, Version2

UNLIMITED_1 = 9223372036854771712


def test_the_tightest_limit_above_counts_under_version_2(tmp_path: Path) -> None:
    tree = Version2(tmp_path)
    tree.group("/pod/job", {"memory.max": "max", "memory.high": "max", "memory.current": GB})
    stat = f"anon 1\ninactive_file {GB}\nactive_file 7"
    tree.group("/pod", {"memory.max": 4 * GB, "memory.current": 3 * GB, "memory.stat": stat})
    found = memory(str(tree))
    assert found.accounts == (Account(f"{tmp_path}/sys/fs/cgroup/pod", 4 * GB, 3 * GB, GB),)
    assert (found.total, found.available, found.limit, found.room) == (16 * GB, 8 * GB, 4 * GB, 2 * GB)


def test_a_limit_at_which_processes_are_slowed_down_is_one(tmp_path: Path) -> None:
    tree = Version2(tmp_path)
    tree.group("/pod/job", {"memory.max": 4 * GB, "memory.high": 3 * GB, "memory.current": 0})
    assert memory(str(tree)).limit == 3 * GB


def test_the_tightest_limit_above_counts_under_version_1(tmp_path: Path) -> None:
    tree = Version1(tmp_path)
    stat = f"inactive_file 5\nhierarchical_memory_limit {2 * GB}\ntotal_inactive_file 1000"
    own = {"memory.limit_in_bytes": UNLIMITED_1, "memory.usage_in_bytes": GB, "memory.stat": stat}
    tree.group("memory", "/pod/job", own)
    tree.group("memory", "/", {"memory.limit_in_bytes": UNLIMITED_1, "memory.usage_in_bytes": 5 * GB})
    found = memory(str(tree))
    assert found.accounts == (Account(f"{tmp_path}/sys/fs/cgroup/memory/pod/job", 2 * GB, GB, 1000),)
    assert found.room == GB + 1000


def test_a_limit_above_the_machines_memory_is_none(tmp_path: Path) -> None:
    tree = Version2(tmp_path)
    tree.group("/pod", {"memory.max": 64 * GB, "memory.current": GB})
    found = memory(str(tree))
    assert (found.limit, found.room) == (None, 8 * GB)


def test_the_room_is_never_below_zero(tmp_path: Path) -> None:
    tree = Version2(tmp_path)
    tree.group("/pod", {"memory.max": GB, "memory.current": 2 * GB})
    assert memory(str(tree)).room == 0


@pytest.mark.parametrize("kind", [Version1, Version2])
def test_a_container_that_sees_only_its_own_part_of_the_hierarchy_finds_itself(
    tmp_path: Path, kind: type[Version1] | type[Version2]
) -> None:
    tree = kind(tmp_path, group="/docker/ab12/job", top="/docker/ab12")
    (tmp_path / "sys/fs/cgroup/memory/job").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/job").mkdir(parents=True)
    top = f"{tmp_path}/sys/fs/cgroup{'/memory' if kind is Version1 else ''}"
    assert [group.folder for group in groups("memory", str(tree))] == [f"{top}/job", top]


@pytest.mark.parametrize("group", ["/elsewhere", "/../../job", "/docker/ab12/gone"])
def test_a_group_that_can_not_be_seen_is_stood_for_by_what_is_mounted(tmp_path: Path, group: str) -> None:
    tree = Version2(tmp_path, group=group, top="/docker/ab12")
    tree.group("/", {"memory.max": 3 * GB})
    assert memory(str(tree)).limit == 3 * GB


def test_a_mount_point_with_a_space_in_its_name_is_found(tmp_path: Path) -> None:
    tree = Version2(tmp_path)
    tree.put("proc/self/mountinfo", r"31 23 0:28 / /my\040groups rw - cgroup2 cgroup2 rw")
    tree.put("my groups/pod/memory.max", GB)
    assert memory(str(tree)).limit == GB


@pytest.mark.parametrize(
    ("own", "above", "quota", "usable"),
    [
        ("max 100000", "max 100000", None, 8),
        ("max 100000", "250000 100000", 2.5, 3),
        ("50000 100000", "400000 100000", 0.5, 1),
        ("6400000 100000", "max 100000", 64, 8),
        ("nonsense", "100000 0", None, 8),
    ],
)
def test_processors_are_those_that_affinity_and_quota_leave_under_version_2(
    tmp_path: Path, own: str, above: str, quota: float | None, usable: int
) -> None:
    tree = Version2(tmp_path)
    tree.group("/pod/job", {"cpu.max": own})
    tree.group("/pod", {"cpu.max": above})
    found = cores(str(tree), allowed=8)
    assert (found.quota, found.usable) == (quota, usable)


def test_processors_are_those_that_the_quota_leaves_under_version_1(tmp_path: Path) -> None:
    tree = Version1(tmp_path)
    tree.group("cpu,cpuacct", "/pod/job", {"cpu.cfs_quota_us": -1, "cpu.cfs_period_us": 100000})
    tree.group("cpu,cpuacct", "/pod", {"cpu.cfs_quota_us": 200000, "cpu.cfs_period_us": 50000})
    assert cores(str(tree), allowed=8).usable == 4


def test_pressure_is_the_worst_of_the_groups_and_the_machines(tmp_path: Path) -> None:
    tree = Version2(tmp_path)
    line = "{} avg10={} avg60=0.00 avg300=0.00 total=9"
    tree.group("/pod/job", {"memory.pressure": f"{line.format('some', '1.50')}\n{line.format('full', '0.25')}"})
    tree.group("/pod", {"memory.pressure": f"{line.format('some', '12.00')}\n{line.format('full', '3.00')}"})
    tree.put("proc/pressure/memory", line.format("some", "4.00"))
    assert pressure(str(tree)) == Pressure(Stall(12, 3), Stall(4, 0))
    assert pressure(str(tree)).some == 12


def test_kills_are_counted_in_the_own_group_under_version_2(tmp_path: Path) -> None:
    tree = Version2(tmp_path)
    tree.group("/pod/job", {"memory.events": "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 0"})
    tree.group("/pod", {"memory.events": "oom_kill 9", "memory.oom.group": 1})
    tree.put("proc/vmstat", "nr_free_pages 5\noom_kill 11")
    assert events(str(tree)) == Events(1, 2, 3, 4)
    assert kills(str(tree)) == Kills(4, 11)
    assert kills_all(str(tree))


def test_kills_are_counted_in_the_own_group_under_version_1(tmp_path: Path) -> None:
    tree = Version1(tmp_path)
    tree.group("memory", "/pod/job", {"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0"})
    tree.group("memory", "/pod/job", {"memory.failcnt": 7})
    tree.group("memory", "/pod", {"memory.oom_control": "oom_kill 5"})
    assert events(str(tree)) == Events(max=7)
    assert not kills_all(str(tree))


def test_limits_are_read_whether_numbers_or_none(tmp_path: Path) -> None:
    tree = Version2(tmp_path)
    tree.limits(Max_open_files=("1024", "524288"), Max_processes=("unlimited", "unlimited"), Max_stack_size=("8", "9"))
    tree.group("/pod", {"pids.max": 100})
    tree.group("/pod/job", {"pids.max": "max"})
    found = limits(str(tree))
    assert (found.files, found.processes, found.tasks) == (Limit(1024, 524288), Limit(), 100)


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    empty = str(tmp_path)
    assert groups("memory", empty) == ()
    assert memory(empty).limit is None
    assert kills(empty) == Kills() and events(empty) == Events() and not kills_all(empty)
    assert pressure(empty) == Pressure() and pressure(empty).some == 0
    assert cores(empty, allowed=3).usable == 3
    assert limits(empty).files == Limit()
    assert shared_memory(empty) is None


def test_torn_and_strange_files_are_no_error(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.put("proc/self/cgroup", "no colons\n\n7:memory\n::")
    tree.put("proc/self/mountinfo", "\n - cgroup2\n1 2 3 / /sys - cgroup\nx - tmpfs")
    tree.put("proc/meminfo", "\nMemTotal\nMemTotal: many kB")
    tree.put("proc/pressure/memory", "some avg10=x\nfull")
    assert memory(str(tree)).total == UNKNOWN
    assert pressure(str(tree)).machine is None
    assert cores(str(tree)).usable >= 1


def test_the_facts_of_this_machine_make_sense() -> None:
    found = memory()
    assert 0 < found.room <= found.available <= found.total
    assert 1 <= cores().usable <= cores().allowed <= cores().machine
    assert 0 <= pressure().some <= 100
    assert (limits().files.hard or 1 << 30) > 0
    space = shared_memory()
    assert space is None or 0 <= space.free <= space.size


def test_an_estimate_is_the_size_of_the_files_and_what_lies_beside_them(tmp_path: Path) -> None:
    size = 40 << 20
    for name in ("model.onnx", "model.onnx.data", "model.onnx_data", "modelling.onnx", "a/b/weights"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with open(tmp_path / name, "wb") as file:
            os.truncate(file.fileno(), size)
    (tmp_path / "a/link").symlink_to(tmp_path / "a/b/weights")
    assert estimate([tmp_path / "model.onnx"]) == 2 * 3 * size
    assert estimate([tmp_path / "a", tmp_path / "a/b"], factor=3) == 3 * size
    assert estimate([tmp_path / "gone/m.onnx"]) == estimate([]) == LEAST


def test_the_supervisor_pays_for_no_library_to_know_its_machine() -> None:
    modules = sorted(path.stem for path in Path(__file__).parent.parent.glob("server/machine/[a-z]*.py"))
    code = (
        f"import importlib, sys\nfor name in {modules}: importlib.import_module('sharedmodel.server.machine.' + name)\n"
        "heavy = {'numpy', 'pydantic', 'msgpack', 'posix_ipc', 'rich', 'typer', 'torch', 'onnxruntime'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]" and len(modules) > 10


def test_only_what_was_killed_a_moment_ago_may_be_why_a_process_ended() -> None:
    now, counts = [0.0], [Kills(3, 8)]
    recent = Recent(lambda: counts[0], total=10 << 30, clock=lambda: now[0])
    assert recent.kills(1 << 30) == Kills()
    counts[0] = Kills(4, 9)
    assert recent.kills(1 << 30) == Kills(1, 1)
    assert recent.kills(10 << 20) == Kills(1, 0), "the kernel kills the largest of a machine, and not one so small"
    for _ in range(2):
        assert any(recent.kills(1 << 30))
        now[0] += RECENT
        recent.expire(now[0])
    assert recent.kills(1 << 30) == Kills()
