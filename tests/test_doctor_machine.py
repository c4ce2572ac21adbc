"""What the doctor says of memory, processors and limits, and what to do about each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from sharedmodel.server import doctor_machine as doctor
from sharedmodel.server.finding import FAIL, OK, WARN, Finding
from sharedmodel.server.machine.gpu import Gpu

from .trees import GB, Tree, Version1, Version2


def one(found: Iterable[Finding]) -> Finding:
    (finding,) = found
    assert (finding.verdict == OK) == (finding.advice == "")
    return finding


def test_the_limit_of_the_cgroup_is_told_with_its_use(tmp_path: Path) -> None:
    tree = Version2(tmp_path)
    tree.group("/pod", {"memory.max": 4 * GB, "memory.current": GB})
    found = one(doctor.memory_limit(str(tree)))
    assert found.verdict == OK
    assert found.text == "4.3 GB, 1.1 GB in use (limit of the cgroup; the machine has 17 GB)"


def test_without_a_limit_the_machine_is_one(tmp_path: Path) -> None:
    found = one(doctor.memory_limit(str(Version1(tmp_path))))
    assert found.verdict == OK and "nine tenths of the machine's 17 GB" in found.text


@pytest.mark.parametrize(
    ("limit", "used", "advice"), [(GB // 2, 0, "raise it if models are killed"), (4 * GB, 4 * GB, "nothing more")]
)
def test_memory_that_is_little_or_full_is_a_warning(tmp_path: Path, limit: int, used: int, advice: str) -> None:
    tree = Version2(tmp_path)
    tree.group("/pod/job", {"memory.max": limit, "memory.current": used})
    found = one(doctor.memory_limit(str(tree)))
    assert found.verdict == WARN and advice in found.advice


def test_a_machine_that_does_not_tell_its_memory_is_no_machine_of_petabytes(tmp_path: Path) -> None:
    assert "does not tell how much it has" in one(doctor.memory_limit(str(tmp_path))).text


def test_kills_of_the_kernel_are_told(tmp_path: Path) -> None:
    tree = Version2(tmp_path)
    tree.group("/pod/job", {"memory.max": 4 * GB, "memory.current": 0, "memory.events": "max 9\noom_kill 2"})
    _, found = doctor.memory_limit(str(tree))
    assert found.verdict == WARN and "2 killed" in found.text and "hit 9 times" in found.text


def test_a_group_that_is_killed_as_one_is_a_warning(tmp_path: Path) -> None:
    tree = Version2(tmp_path)
    tree.group("/pod", {"memory.oom.group": 0})
    assert list(doctor.group_kill(str(tree))) == []
    tree.group("/pod", {"memory.oom.group": 1})
    found = one(doctor.group_kill(str(tree)))
    assert found.what == "memory.oom.group" and "singleProcessOOMKill" in found.advice


@pytest.mark.parametrize(("some", "verdict"), [("0.40", OK), ("31.00", WARN)])
def test_pressure_is_told(tmp_path: Path, some: str, verdict: str) -> None:
    tree = Tree(tmp_path)
    tree.put("proc/pressure/memory", f"some avg10={some} avg60=0.00 avg300=0.00 total=1")
    assert one(doctor.memory_pressure(str(tree))).verdict == verdict


def test_a_kernel_that_does_not_measure_pressure_is_no_fault(tmp_path: Path) -> None:
    assert one(doctor.memory_pressure(str(tmp_path))).text.startswith("not measured")


CARDS = [Gpu(0, "GPU-a", "NVIDIA A100", 80 * GB, 4 * GB), Gpu(1, "GPU-b", "NVIDIA A100", 80 * GB, 79 * GB)]


def test_gpus_are_told_with_what_is_in_use() -> None:
    first, second = doctor.gpus({}, lambda: CARDS)
    assert (first.what, first.verdict, first.text) == ("cuda:0", OK, "NVIDIA A100, 86 GB, 4.3 GB in use")
    assert (second.what, second.verdict) == ("cuda:1", WARN) and "nothing more will be loaded" in second.advice
    assert one(doctor.gpus({"CUDA_VISIBLE_DEVICES": "0"}, lambda: CARDS)).what == "cuda:0"


def test_a_machine_without_gpus_is_no_worse() -> None:
    assert "nvidia-smi shows none" in one(doctor.gpus({}, list)).text
    assert "hides those" in one(doctor.gpus({"CUDA_VISIBLE_DEVICES": ""}, lambda: CARDS)).text


def test_another_order_of_gpus_than_nvidia_smis_is_a_warning() -> None:
    *_, found = doctor.gpus({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, lambda: CARDS)
    assert found.verdict == WARN and "unset it" in found.advice


def test_processors_are_told_with_the_threads_they_make(tmp_path: Path) -> None:
    tree = Version2(tmp_path)
    tree.group("/pod", {"cpu.max": "400000 100000"})
    found = one(doctor.processors(str(tree), {"OMP_NUM_THREADS": "4"}, allowed=64))
    assert found.verdict == OK and "4 to use (64 by affinity, a cgroup quota of 4): 4 threads" in found.text


def test_an_environment_that_asks_for_more_threads_than_processors_is_a_warning(tmp_path: Path) -> None:
    environ = {"OMP_NUM_THREADS": "64", "MKL_NUM_THREADS": "2", "PATH": "99"}
    found = one(doctor.processors(str(tmp_path), environ, allowed=8))
    assert "says OMP_NUM_THREADS=64" in found.text and "MKL" not in found.text and "set it to 8" in found.advice


def test_shared_memory_that_is_missing_slow_or_small_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree(tmp_path)
    assert "is missing" in one(doctor.shared(str(tree))).text
    tree.shm("ext4")
    assert "not in memory, so slow" in one(doctor.shared(str(tree))).text
    tree.shm("tmpfs")
    monkeypatch.setattr(doctor, "_SMALL_SHM", 1 << 60)
    assert "--shm-size" in one(doctor.shared(str(tree))).advice
    monkeypatch.setattr(doctor, "_SMALL_SHM", 0)
    assert one(doctor.shared(str(tree))).verdict == OK


def test_limits_that_are_wide_are_fine(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.limits(Max_open_files=("1024", "524288"), Max_processes=("unlimited", "unlimited"))
    found = {finding.what: finding for finding in doctor.ulimits(str(tree))}
    assert {finding.verdict for finding in found.values()} == {OK}
    assert found["open files"].text == "1024, the host raises it to 524288"


def test_limits_that_are_narrow_are_warnings(tmp_path: Path) -> None:
    tree = Version2(tmp_path)
    tree.group("/pod", {"pids.max": 100})
    rows = {"Max_open_files": ("256", "600"), "Max_processes": ("9999", "9999"), "Max_address_space": ("5000", "5000")}
    tree.limits(**rows)
    found = {finding.what: finding for finding in doctor.ulimits(str(tree))}
    assert {finding.verdict for finding in found.values()} == {WARN}
    assert "about 100 clients" in found["open files"].text
    assert "100 by cgroup" in found["processes"].text and "pids.max" in found["processes"].advice
    assert "limited to 5.0 KB" in found["address space"].text


def test_this_machine_can_be_examined() -> None:
    checks = (doctor.memory_limit, doctor.group_kill, doctor.memory_pressure, doctor.shared, doctor.ulimits)
    found = [finding for check in checks for finding in check()] + list(doctor.processors())
    assert len(found) >= 6 and FAIL not in {finding.verdict for finding in found}
