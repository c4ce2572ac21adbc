"""Short of memory: first what costs nothing, at last unloading, one step at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedmodel.server.machine.governor import Device, Model
from sharedmodel.server.machine.gpu import Gpu, Process, gpus, processes, visible
from sharedmodel.server.machine.relief import Relief, ShrinkArenas, TrimHeap, Unload

CALM, STALLED = 10.0, 10.1
FULL, ROOM = Device("cpu", 100, 96), Device("cpu", 100, 95)
MODELS = [Model("new", 30, used=2), Model("old", 30, used=1), Model("busy", 30, running=1), Model("kept", 9, keep=True)]


def test_nothing_is_done_while_there_is_room_and_nobody_waits() -> None:
    assert Relief().step(CALM, ROOM, MODELS, 100) is None


@pytest.mark.parametrize(("some", "device"), [(CALM, FULL), (STALLED, ROOM)])
def test_arenas_are_shrunk_then_the_heap_is_trimmed_then_the_least_used_goes(some: float, device: Device) -> None:
    relief = Relief()
    steps = [relief.step(some, device, MODELS, now) for now in (100, 105, 110)]
    assert steps == [ShrinkArenas(), TrimHeap(), Unload(("old",))]


def test_each_step_has_time_to_show() -> None:
    relief = Relief()
    assert relief.step(CALM, FULL, MODELS, 100) == ShrinkArenas()
    assert relief.step(CALM, FULL, MODELS, 104.9) is None
    assert relief.step(CALM, FULL, MODELS, 105) == TrimHeap()


def test_after_relief_the_next_shortage_begins_with_what_costs_nothing() -> None:
    relief = Relief()
    relief.step(CALM, FULL, MODELS, 100)
    assert relief.step(CALM, ROOM, MODELS, 101) is None
    assert relief.step(CALM, FULL, MODELS, 105) == ShrinkArenas()


def worn_out() -> Relief:
    """One that has done what costs nothing."""
    relief = Relief()
    relief.step(STALLED, FULL, MODELS, 80)
    relief.step(STALLED, FULL, MODELS, 90)
    return relief


def test_as_many_are_unloaded_as_are_missing() -> None:
    assert worn_out().step(CALM, Device("cpu", 100, 130), MODELS, 100) == Unload(("old", "new"))
    assert worn_out().step(CALM, Device("cpu", 100, 900), MODELS, 100) == Unload(("old", "new"))


def test_nothing_is_asked_for_where_nothing_can_be_unloaded() -> None:
    relief = worn_out()
    assert relief.step(CALM, FULL, MODELS[2:], 100) is None
    assert relief.step(CALM, FULL, MODELS, 101) == Unload(("old",))


def test_each_device_is_looked_at_by_itself() -> None:
    elsewhere = [model._replace(device="cuda:0") for model in MODELS]
    assert worn_out().step(CALM, FULL, elsewhere, 100) is None


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 200), st.floats(0.1, 9)), max_size=20))
def test_what_works_or_is_kept_stays_whatever_comes(readings: list[tuple[float, int, float]]) -> None:
    relief, now = Relief(), 100.0
    for some, used, seconds in readings:
        now += seconds
        step = relief.step(some, Device("cpu", 100, used), MODELS, now)
        assert not isinstance(step, Unload) or set(step.names) <= {"old", "new"}


SMI = """0, GPU-aaaa-1, NVIDIA H100 80GB HBM3, 81559, 4
1, GPU-bbbb-2, NVIDIA, with a comma, 81559, 40000
2, GPU-cccc-3, NVIDIA GB10, [N/A], [N/A]
No devices were found
"""


def test_gpus_are_read_and_what_has_no_memory_of_its_own_is_left_out() -> None:
    read = gpus(lambda: SMI)
    assert read == [
        Gpu(0, "GPU-aaaa-1", "NVIDIA H100 80GB HBM3", 81559 << 20, 4 << 20),
        Gpu(1, "GPU-bbbb-2", "NVIDIA, with a comma", 81559 << 20, 40000 << 20),
    ]
    assert 0.9 * read[0].total < read[0].device(1).budget < read[0].total
    assert read[1].device(0).in_use == 40000 << 20


def test_of_a_configured_budget_is_gone_what_the_servers_own_use_and_what_others_left_too_little_of() -> None:
    gpu = Gpu(0, "GPU-aaaa-1", "NVIDIA H100 80GB HBM3", 100, 40)
    assert gpu.device(0, budget=5) == Device("cuda:0", 5, 0)
    assert gpu.device(0, budget=50, own=30) == Device("cuda:0", 50, 30)
    assert gpu.device(0, budget=70, own=5) == Device("cuda:0", 70, 10)


def test_the_processes_on_gpus_are_read_and_those_of_which_nothing_is_known_left_out() -> None:
    told = "GPU-aaaa-1, 10, 100\nGPU-bbbb-2, 10, 7\nGPU-aaaa-1, 11, [N/A]\nNo running processes found\n\n, ,\n"
    assert processes(lambda: told) == [Process("GPU-aaaa-1", 10, 100 << 20), Process("GPU-bbbb-2", 10, 7 << 20)]


def test_without_the_tool_there_are_no_gpus() -> None:
    def missing() -> str:
        raise FileNotFoundError("nvidia-smi")

    assert gpus(missing) == []


@pytest.mark.parametrize(
    ("setting", "seen"),
    [(None, [0, 1]), ("1,0", [1, 0]), ("GPU-bbbb", [1]), ("", []), ("0,7,1", [0]), ("GPU", []), ("0,0", [0])],
)
def test_a_process_sees_the_gpus_that_cuda_lets_it_see(setting: str | None, seen: list[int]) -> None:
    assert [gpu.number for gpu in visible(gpus(lambda: SMI), setting)] == seen
