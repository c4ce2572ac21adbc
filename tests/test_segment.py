"""Both kinds of segment keep one contract: shared, allocated, nameless, and alive as long as an array in them."""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest

from sharedmodel import process, segment
from sharedmodel.segment import PAGE, Leftover, Segment, create, leftovers, remove

SIZE = 8 * PAGE


@pytest.fixture(params=["shm", "memfd"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def pair(kind: str) -> tuple[Segment, Segment]:
    """A segment and its peer's mapping of it."""
    made = create(SIZE, kind)
    return made, Segment(os.dup(made.fd), SIZE, kind)


def allocated(fd: int) -> int:
    return os.fstat(fd).st_blocks * 512


def run(code: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


def in_child(task: Any) -> bytes:
    """What a forked child says of what it sees."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writer, task())
        os._exit(0)
    os.close(writer)
    said = os.read(reader, 100)
    os.close(reader)
    os.waitpid(pid, 0)
    return said


def test_sizes_are_rounded_up_to_whole_pages(kind: str) -> None:
    for asked, size in [(0, PAGE), (1, PAGE), (PAGE, PAGE), (PAGE + 1, 2 * PAGE), (10 * PAGE - 1, 10 * PAGE)]:
        made = create(asked, kind)
        assert (made.size, len(made.map), made.kind) == (size, size, kind)
        assert os.fstat(made.fd).st_size == size


def test_its_memory_is_really_allocated_and_its_name_gone(kind: str) -> None:
    before = set(os.listdir(segment.DIRECTORY))
    made = create(SIZE, kind)
    assert allocated(made.fd) == SIZE
    assert set(os.listdir(segment.DIRECTORY)) == before
    assert not os.get_inheritable(made.fd)
    assert made.map[:] == bytes(SIZE)


def test_two_mappings_share_what_is_written(kind: str) -> None:
    ours, theirs = pair(kind)
    ours.map[:5] = b"hello"
    theirs.map[-5:] = b"world"
    assert theirs.map[:5] == b"hello" and ours.map[-5:] == b"world"
    child = in_child(lambda: bytes(ours.map[:5]))
    assert child == b"hello"


def test_a_read_only_mapping_sees_what_the_other_writes(kind: str) -> None:
    host = create(SIZE, kind, writable=False)
    client = Segment(os.dup(host.fd), SIZE, kind)
    array: Any = np.ndarray((4,), "u1", host.map, 100)
    client.map[100:104] = b"\1\2\3\4"
    assert array.tolist() == [1, 2, 3, 4] and not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 9
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


def test_a_mapping_larger_than_the_segment_is_refused_and_its_descriptor_closed(kind: str) -> None:
    made = create(SIZE, kind)
    fd = os.dup(made.fd)
    with pytest.raises(OSError, match="smaller"):
        Segment(fd, SIZE + PAGE, "shm")
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_a_private_range_keeps_its_content_and_parts_from_the_peer(kind: str) -> None:
    ours, theirs = pair(kind)
    array: Any = np.ndarray((SIZE,), "u1", ours.map)
    array[:] = 1
    ours.make_private(2 * PAGE, 3 * PAGE)
    assert (array == 1).all()
    array[:] = 2
    assert theirs.map[:] == b"\2" * 2 * PAGE + b"\1" * 3 * PAGE + b"\2" * 3 * PAGE
    theirs.map[:] = b"\3" * SIZE
    assert array.tobytes() == b"\3" * 2 * PAGE + b"\2" * 3 * PAGE + b"\3" * 3 * PAGE


def test_a_private_range_belongs_to_each_process_after_a_fork(kind: str) -> None:
    ours, theirs = pair(kind)
    array: Any = np.ndarray((SIZE,), "u1", ours.map)
    array[:] = 1
    ours.make_private(0, SIZE)

    def child() -> bytes:
        seen = array[0]
        array[:] = 5
        return bytes([seen, array[0], theirs.map[0]])

    assert in_child(child) == bytes([1, 5, 1])
    assert array[0] == 1
    array[:] = 6
    assert in_child(lambda: bytes([array[-1]])) == b"\6" and theirs.map[0] == 1


def test_forgotten_pages_go_back_to_the_machine_and_come_again_as_zeros(kind: str) -> None:
    ours, theirs = pair(kind)
    ours.map[:] = b"\7" * SIZE
    ours.forget(PAGE, 4 * PAGE)
    assert allocated(ours.fd) == SIZE - 4 * PAGE
    ours.refill(PAGE, 4 * PAGE)
    assert allocated(ours.fd) == SIZE
    assert theirs.map[:] == b"\7" * PAGE + bytes(4 * PAGE) + b"\7" * 3 * PAGE


def test_an_array_outlives_its_segment(kind: str) -> None:
    made = create(SIZE, kind)
    array: Any = np.ndarray((SIZE,), "u1", made.map)
    array[:] = 4
    gone = weakref.ref(made)
    made.close()
    made.close()  # idempotent
    del made
    gc.collect()
    assert gone() is None and (array == 4).all()
    view = array[PAGE:]
    del array
    assert (view == 4).all()


def test_a_segment_that_nothing_refers_to_leaves_no_descriptor(kind: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        create(SIZE, kind)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_memfd_is_sealed_against_shrinking_and_growing() -> None:
    made = create(SIZE, "memfd")
    for size in (0, SIZE - PAGE, SIZE + PAGE):
        with pytest.raises(PermissionError):
            os.ftruncate(made.fd, size)


def test_without_memory_for_either_kind_it_is_an_error_and_nothing_is_left(kind: str) -> None:
    code = f"""
import os, resource
from sharedmodel.segment import create
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
before = os.listdir("/proc/self/fd"), os.listdir("/dev/shm")
try:
    create(4 << 20, {kind!r})
except OSError as exc:
    print(exc.errno)
print((os.listdir("/proc/self/fd"), os.listdir("/dev/shm")) == before, create(1000, {kind!r}).kind)
"""
    assert run(code).stdout.split() == [str(errno.EFBIG), "True", kind]


SMALL = """
import mmap, os, subprocess
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/dev/shm"], check=True)
from sharedmodel.segment import create
small, large = create(200_000), create(4 << 20)
large.map[:] = bytes(large.size)
rest = [create(200_000) for _ in range(10)]
for each in rest:
    each.map[:] = bytes(each.size)
print(small.kind, large.kind, *sorted({each.kind for each in rest}), os.listdir("/dev/shm"))
del small, rest, each
print(create(900_000).kind)
subprocess.run(["mount", "-o", "remount,ro", "/dev/shm"], check=True)
print(create(1000).kind)
"""


def test_where_dev_shm_is_small_full_or_read_only_a_memfd_takes_its_place() -> None:
    if os.geteuid() or run("pass", "unshare", "-m").returncode:
        pytest.skip("a mount namespace needs root and its permission (CAP_SYS_ADMIN)")
    done = run(SMALL, "unshare", "-m")
    assert done.stdout.splitlines() == ["shm memfd memfd shm []", "shm", "memfd"], done.stderr


# The creator dies, or waits, between the creation of the name and its unlinking.
CREATOR = """
import os, signal, sys
from sharedmodel import segment
def interrupted(fd, start, size):
    os.ftruncate(fd, size)
    print("made", flush=True)
    sys.stdin.read()
segment.os.posix_fallocate = interrupted
segment.create(5000)
"""


def test_the_name_of_a_killed_creator_is_found_and_removed_and_that_of_a_living_one_is_not() -> None:
    creator = subprocess.Popen([sys.executable, "-c", CREATOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert creator.stdin is not None and creator.stdout is not None
    with creator:
        assert select.select([creator.stdout], [], [], 30)[0] and creator.stdout.readline() == b"made\n"
        prefix = f"{segment.PREFIX}{process.identity(creator.pid)}-"
        assert any(name.startswith(prefix) for name in os.listdir(segment.DIRECTORY))
        assert not any(left.name.startswith(prefix) for left in leftovers())
        creator.send_signal(signal.SIGKILL)
    (found,) = [left for left in leftovers() if left.name.startswith(prefix)]
    assert found.size == 2 * PAGE
    remove(found)
    remove(found)  # gone already
    assert not any(left.name.startswith(prefix) for left in leftovers())


def test_a_reused_process_number_keeps_no_leftover_alive() -> None:
    pid = os.getpid()
    ours = f"{segment.PREFIX}{process.identity(pid)}-1"
    other = f"{segment.PREFIX}{pid}.{process.start_time(pid) - 1}-1"
    names = [ours, other, f"{segment.PREFIX}nonsense", f"{segment.PREFIX}-"]
    try:
        for name in names:
            open(f"{segment.DIRECTORY}/{name}", "w").close()
        assert {left.name for left in leftovers()} & set(names) == set(names[1:])
    finally:
        for name in names:
            remove(Leftover(name, 0))
    assert not set(names) & set(os.listdir(segment.DIRECTORY))
