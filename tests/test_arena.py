"""No two live blocks share a byte, whatever is taken and given back in whatever order."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from sharedmodel import segment
from sharedmodel.arena import ALIGN, PAGE, Arena, Span, rounded
from sharedmodel.errors import ProtocolError
from sharedmodel.memory import Owner
from sharedmodel.tensor import Layout, TensorRef

sizes = st.one_of(
    st.integers(1, 300), st.integers(PAGE - 65, PAGE + 65), st.integers(1, 40 * PAGE), st.sampled_from([1, ALIGN, PAGE])
)
picks = st.integers(0, 1 << 20)  # not the arrays themselves: hypothesis would keep those that it draws alive


@given(st.integers(1, 1 << 40))
def test_a_size_is_rounded_up_a_little_and_never_down(nbytes: int) -> None:
    size = rounded(nbytes)
    assert nbytes <= size <= max(nbytes + ALIGN, nbytes + nbytes // 8 + PAGE)
    assert size % (PAGE if size > PAGE else ALIGN) == 0
    assert rounded(size) == size <= rounded(nbytes + 1)


class ArenaMachine(RuleBasedStateMachine):
    """An arena beside the plain list of what is out."""

    spans: Bundle[Span] = Bundle("spans")

    def __init__(self) -> None:
        super().__init__()
        self.arena = Arena()
        self.segments: dict[int, int] = {}
        self.live: list[Span] = []
        self.number = 0

    @rule(pages=st.integers(1, 48))
    def add(self, pages: int) -> None:
        self.number += 1
        self.arena.add(self.number, pages * PAGE)
        self.segments[self.number] = pages * PAGE

    @rule(target=spans, nbytes=sizes)
    def allocate(self, nbytes: int) -> Any:
        idle = [number for number in self.idle() if self.segments[number] >= rounded(nbytes)]
        span = self.arena.allocate(nbytes)
        if span is None:
            assert not idle
            return Span(0, 0, 0)
        assert nbytes <= span.size <= 2 * rounded(nbytes)
        self.live.append(span)
        return span

    @rule(span=consumes(spans))
    def free(self, span: Span) -> None:
        if span not in self.live:
            with pytest.raises(ValueError, match="not allocated"):
                self.arena.free(span)
            return
        self.live.remove(span)
        self.arena.free(span)
        with pytest.raises(ValueError, match="not allocated"):
            self.arena.free(span)

    @rule(span=consumes(spans))
    def reuse_the_last_one_given_back(self, span: Span) -> None:
        if span in self.live:
            self.arena.free(span)
            assert self.arena.allocate(span.size) == span

    @rule(number=st.integers(1, 12))
    def drop(self, number: int) -> None:
        if number not in self.segments:
            return
        if number not in self.idle():
            with pytest.raises(ValueError, match="live blocks"):
                self.arena.drop(number)
        else:
            self.arena.drop(number)
            del self.segments[number]

    @invariant()
    def live_spans_lie_apart_inside_their_segments(self) -> None:
        for number, size in self.segments.items():
            mine = sorted((span for span in self.live if span.segment == number), key=lambda span: span.offset)
            assert all(a.offset + a.size <= b.offset for a, b in itertools.pairwise([*mine, Span(0, size, 0)]))
            assert all(span.offset % (PAGE if span.size >= PAGE else ALIGN) == 0 for span in mine)

    @invariant()
    def the_books_are_right(self) -> None:
        assert self.arena.live_bytes == sum(span.size for span in self.live)
        assert self.arena.capacity == sum(self.segments.values())
        assert sorted(self.arena.idle()) == sorted(self.idle())

    def idle(self) -> set[int]:
        return set(self.segments) - {span.segment for span in self.live}


class OwnerMachine(RuleBasedStateMachine):
    """Arrays, views and frames in real segments: nobody's content changes because of another's."""

    @initialize(lends=st.booleans())
    def begin(self, lends: bool) -> None:
        self.lends = lends
        self.owner = Owner(self.grow, 1 << 40, lends=lends)
        self.peers: dict[int, segment.Segment] = {}
        self.arrays: list[tuple[Any, Any, int]] = []  # array, content, block
        self.frames: list[tuple[TensorRef, bytes]] = []
        self.stamp = 0

    def grow(self, nbytes: int) -> Any:
        made = segment.create(nbytes)
        number = len(self.peers) + 1
        self.peers[number] = segment.Segment(os.dup(made.fd), made.size, made.kind)
        return number, made

    def pattern(self, nbytes: int) -> Any:
        self.stamp += 1
        return np.frombuffer(np.random.default_rng(self.stamp).bytes(nbytes), "u1")

    def done(self, block: int) -> None:
        (self.owner.take_back if self.lends else self.owner.unpin)(block)

    @rule(nbytes=sizes, fortran=st.booleans())
    def make(self, nbytes: int, fortran: bool) -> None:
        array: Any = self.owner.empty((nbytes,), "u1", "F" if fortran else "C")
        array[:] = content = self.pattern(nbytes)
        ref: Any = self.owner.find(array)
        self.done(ref.block)
        assert ref.nbytes == nbytes
        self.arrays.append((array, content, ref.block))

    @precondition(lambda self: self.arrays)
    @rule(which=picks, ends=st.tuples(picks, picks))
    def view(self, which: int, ends: tuple[int, int]) -> None:
        array, content, block = self.arrays[which % len(self.arrays)]
        start, stop = sorted(end % (len(array) + 1) for end in ends)
        self.arrays.append((array[start:stop], content[start:stop], block))

    @precondition(lambda self: self.arrays)
    @rule(which=picks, value=st.integers(0, 255))
    def write(self, which: int, value: int) -> None:
        array, _, block = self.arrays[which % len(self.arrays)]
        array[:] = value
        self.arrays = [(a, a.copy(), b) if b == block else (a, c, b) for a, c, b in self.arrays]
        self.frames = [(ref, self.read(ref) if ref.block == block else was) for ref, was in self.frames]

    @precondition(lambda self: self.arrays)
    @rule(which=picks)
    def forget(self, which: int) -> None:
        del self.arrays[which % len(self.arrays)]

    @precondition(lambda self: self.arrays)
    @rule(which=picks)
    def send(self, which: int) -> None:
        array, content, block = self.arrays[which % len(self.arrays)]
        ref = self.owner.find(array)
        if self.lends and any(other.block == block for other, _ in self.frames):
            assert ref is None  # the peer has it already, and gets a copy
            return
        assert ref is not None and ref.block == block
        assert self.read(ref) == content.tobytes()
        self.frames.append((ref, content.tobytes()))

    @rule(nbytes=sizes)
    def send_a_copy(self, nbytes: int) -> None:
        content = self.pattern(nbytes).tobytes()
        ref, buffer, over = self.owner.place(nbytes)  # type: ignore[misc]
        assert not over and len(buffer) >= nbytes
        buffer[:nbytes] = content
        self.frames.append((ref, content))

    @precondition(lambda self: self.frames)
    @rule(which=picks)
    def answer(self, which: int) -> None:
        ref, _ = self.frames.pop(which % len(self.frames))
        self.done(ref.block)
        if self.lends and not any(other.block == ref.block for other, _ in self.frames):
            with pytest.raises(ProtocolError, match="not lent"):
                self.owner.take_back(ref.block)

    @precondition(lambda self: self.lends and self.frames)
    @rule(which=picks)
    def come_back_as_an_argument(self, which: int) -> None:
        ref, content = self.frames[which % len(self.frames)]
        layout = Layout(np.dtype("u1"), (ref.nbytes,), "C", ref.nbytes)
        array: Any = self.owner.view_back(ref, layout)
        assert not array.flags.writeable
        array.flags.writeable = True  # for `write`, which every array here must bear
        self.arrays.append((array, np.frombuffer(content, "u1"), ref.block))
        for bad in (ref._replace(nbytes=1 << 60), ref._replace(block=ref.block + 10**6), ref._replace(offset=1 << 62)):
            with pytest.raises(ProtocolError):
                self.owner.view_back(bad, layout)

    @rule()
    def trim(self) -> None:
        for number in self.owner.trim():
            assert not any(ref.segment == number for ref, _ in self.frames)
            self.peers[number].close()

    def read(self, ref: TensorRef) -> bytes:
        return self.peers[ref.segment].map[ref.offset : ref.offset + ref.nbytes]

    @invariant()
    def nothing_has_changed(self) -> None:
        for array, content, _ in getattr(self, "arrays", ()):
            assert np.array_equal(array, content)
        for ref, content in getattr(self, "frames", ()):
            assert self.read(ref) == content

    @invariant()
    def a_block_is_in_use_exactly_while_somebody_needs_it(self) -> None:
        if hasattr(self, "owner"):
            needed = {block for _, _, block in self.arrays} | {ref.block for ref, _ in self.frames}
            assert (self.owner.live_bytes > 0) == bool(needed)
            assert set(self.owner._blocks) == needed

    def teardown(self) -> None:
        if hasattr(self, "owner"):
            self.arrays.clear()
            for ref, _ in self.frames:
                self.done(ref.block)
            assert self.owner.live_bytes == 0
            self.owner._segments.clear()
            self.peers.clear()


relaxed = {"deadline": None, "suppress_health_check": list(HealthCheck)}
TestArenaMachine = ArenaMachine.TestCase
TestArenaMachine.settings = settings(max_examples=150, stateful_step_count=60, **relaxed)
TestOwnerMachine = OwnerMachine.TestCase
TestOwnerMachine.settings = settings(max_examples=120, stateful_step_count=50, **relaxed)


class Crowded:
    """An owner of whose threads as many ask for a segment at once as can."""

    def __init__(self, threads: int, quota: int) -> None:
        self.owner = Owner(self.grow, quota, lends=True)
        self.grown = 0
        self._threads = threads
        self._barrier = threading.Barrier(threads)

    def grow(self, nbytes: int) -> tuple[int, segment.Segment]:
        try:
            self._barrier.wait(0.5)  # broken from then on, where the others are not let in
        except threading.BrokenBarrierError:
            pass
        self.grown += 1
        return self.grown, segment.create(nbytes)

    def run(self, ask: Callable[[Owner], Any]) -> list[Any]:
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(lambda _: ask(self.owner), range(self._threads)))


def test_threads_that_find_no_room_at_once_get_one_segment_together() -> None:
    crowded = Crowded(8, 1 << 40)
    assert None not in crowded.run(lambda owner: owner.place(20 * PAGE))
    assert crowded.grown == 1 and crowded.owner.live_bytes == 8 * 20 * PAGE


@pytest.mark.parametrize("make", [True, False])
def test_threads_that_wait_for_room_together_do_not_pass_the_quota_together(make: bool) -> None:
    crowded = Crowded(8, PAGE)

    def ask(owner: Owner) -> Any:
        return owner.empty((4 * PAGE,), "u1", "C", owner.quota) if make else owner.place(4 * PAGE)

    assert sum(found is not None for found in crowded.run(ask)) == 1


def test_a_segment_is_taken_in_once() -> None:
    arena = Arena()
    arena.add(1, PAGE)
    with pytest.raises(ValueError, match="already"):
        arena.add(1, PAGE)


def test_a_shape_that_makes_no_array_leaves_no_block_in_use() -> None:
    owner = Owner(lambda nbytes: (1, segment.create(nbytes)), 1 << 40)
    for shape, dtype, order in [((-2, -3), "u1", "C"), ((1,) * 80, "u1", "C"), ((2,), "u1", "?"), ((2.5,), "u1", "C")]:
        with pytest.raises((ValueError, TypeError)):
            owner.empty(shape, dtype, order)
    assert owner.live_bytes == 0
    assert owner.empty((0,), "u1") is owner.empty((3,), "O") is None
    owner._segments.clear()
