"""A process's own memory: measured without a library, and really given back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sharedmodel.server.machine.family import at_most, family, shares
from sharedmodel.server.machine.own import Own, own_memory, returned_memory

# Pieces below malloc's mmap threshold, the last of them kept: without trimming, a heap shrinks only from its end.
_OUTLIER = """
import ctypes, json
from sharedmodel.server.machine.own import own_memory, returned_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
before = own_memory().rss
pieces = [libc.malloc(64 << 10) for _ in range(3200)]
for piece in pieces:
    libc.memset(piece, 1, 64 << 10)
kept = libc.malloc(64 << 10)
largest = own_memory().rss
for piece in pieces:
    libc.free(piece)
freed = own_memory().rss
returned = returned_memory()
print(json.dumps({"before": before, "largest": largest, "freed": freed, "returned": returned, "after": own_memory().rss,
                  "peak": own_memory().peak}))
"""


def test_memory_comes_back_after_an_outlier() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _OUTLIER], capture_output=True, text=True, check=True, env={**os.environ, **_DEFAULTS}
    )
    told = json.loads(done.stdout)
    outlier = 200 << 20
    assert told["largest"] - told["before"] >= 0.95 * outlier
    assert told["freed"] > told["before"] + 0.9 * outlier  # free alone gives nothing back
    assert told["returned"] > 0.9 * outlier
    assert told["after"] < 1.2 * told["before"]
    assert told["peak"] >= 0.99 * told["largest"]


_DEFAULTS = {"MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_MMAP_THRESHOLD_": str(4 << 20)}


def test_a_process_is_measured_by_the_kernels_own_sums(tmp_path: Path) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/status").write_text("Name:\tpython\nVmHWM:\t 300 kB\nVmRSS:\t 200 kB\n")
    assert own_memory(7, str(tmp_path)) == Own(200 << 10, 200 << 10, 300 << 10)
    (tmp_path / "proc/7/smaps_rollup").write_text("5500-7fff ---p 0 00:00 0 [rollup]\nRss: 200 kB\nPss: 120 kB\n")
    assert own_memory(7, str(tmp_path)) == Own(200 << 10, 120 << 10, 300 << 10)


def test_what_a_process_and_its_descendants_share_counts_once(tmp_path: Path) -> None:
    below = {7: {7: "8", 9: "10 11"}, 8: {8: ""}, 10: {10: "12"}, 11: {}, 12: {12: ""}}
    for pid, tasks in below.items():
        for task, children in tasks.items():
            (tmp_path / f"proc/{pid}/task/{task}").mkdir(parents=True)
            (tmp_path / f"proc/{pid}/task/{task}/children").write_text(children)
        (tmp_path / f"proc/{pid}").mkdir(exist_ok=True)
        (tmp_path / f"proc/{pid}/smaps_rollup").write_text("Rss: 200 kB\nPss: 120 kB\n")
        (tmp_path / f"proc/{pid}/statm").write_text("100 50 40 1 0 9 0\n")
    assert sorted(family(7, str(tmp_path))) == [7, 8, 10, 11, 12]
    assert shares(7, str(tmp_path)) == 5 * 120 << 10
    assert at_most(7, str(tmp_path)) == 5 * 50 * os.sysconf("SC_PAGE_SIZE")
    assert family(99, str(tmp_path)) == [99] and shares(99, str(tmp_path)) == 0


def test_children_of_any_thread_are_found() -> None:
    with ThreadPoolExecutor(1) as pool:
        child = pool.submit(subprocess.Popen, ["sleep", "60"]).result()
        with child:
            assert child.pid in family(os.getpid())
            child.kill()


def test_a_process_that_is_gone_takes_nothing() -> None:
    assert own_memory(1 << 30) == Own(0, 0, 0)


def test_this_process_is_measured() -> None:
    found = own_memory()
    assert 0 < found.pss <= found.rss <= found.peak
    assert returned_memory() >= 0
