"""A lobby before the policy: what it holds is what would be in the next batch anyway."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedmodel.server.scheduling.lobby import Lobby
from sharedmodel.server.scheduling.policy import Policy
from sharedmodel.server.scheduling.settings import Scheduling

from .jobs import FakeJob

# Narrow, so that bounds are met: few rows to a batch, keys that are mostly equal.
schedulings = st.builds(
    Scheduling,
    max_batch=st.integers(2, 4),
    max_wait=st.sampled_from([0.0, 0.0, 0.0, 0.5]),
    token_budget=st.sampled_from([None, None, 6, 12]),
    buckets=st.sampled_from([(), (3,)]),
    queue=st.sampled_from([2, 3, 24, 24]),
    priorities=st.booleans(),
)
offers = st.tuples(
    st.just("offer"),
    st.sampled_from("ab"),
    st.sampled_from(["k", "k", "k", "l", None]),
    st.integers(0, 2),
    st.integers(0, 6),
    st.integers(-1, 1),
    st.sampled_from([None, None, None, 0.1, 0.4]),
)
ways = st.tuples(st.sampled_from(["take", "take", "take", "reap", "ready"]))
picks = st.tuples(st.sampled_from(["withdraw", "cancel", "wait"]), st.integers(0, 5))
steps = st.lists(offers | offers | ways | picks, min_size=15, max_size=30)


@settings(max_examples=800, deadline=None)
@given(scheduling=schedulings, steps=steps)
def test_with_a_lobby_the_same_jobs_are_refused_taken_together_and_buried(
    scheduling: Scheduling, steps: list[tuple[Any, ...]]
) -> None:
    queues: list[Any] = [Policy(scheduling), Lobby(scheduling)]
    jobs: list[FakeJob] = []
    now = 1.0
    for what, *rest in steps:
        if what == "offer":
            client, key, rows, length, priority, patience = rest
            jobs.append(FakeJob(client, key, rows, length, priority, None if patience is None else now + patience))
            plain, lobby = [queue.offer(jobs[-1], now) for queue in queues]
        elif what == "take":
            plain, lobby = [_told(queue.take(now)) for queue in queues]
        elif what == "reap":
            plain, lobby = [set(queue.reap(now)) for queue in queues]
        elif what == "ready":
            plain, lobby = [queue.ready(now) for queue in queues]
        elif what == "wait":
            now += rest[0] / 10
            continue
        elif not jobs:
            continue
        elif what == "cancel":
            jobs[-1 - rest[0] % len(jobs)].cancelled = True
            continue
        else:
            plain, lobby = [queue.withdraw(jobs[-1 - rest[0] % len(jobs)]) for queue in queues]
        assert plain == lobby
        assert len(queues[0]) == len(queues[1])


def test_a_key_that_is_none_fails_the_job_that_brings_it_and_no_other() -> None:
    queue: Lobby[FakeJob] = Lobby(Scheduling(max_batch=4))
    bad: Any = ["k"]
    with pytest.raises(TypeError):
        queue.offer(FakeJob(key=bad), 1.0)
    for key in ("k", "l"):
        assert queue.offer(FakeJob(key=key), 1.0) is None
    assert len(queue) == 2


def _told(batch: Any) -> tuple[Any, ...]:
    return set(batch.jobs), pytest.approx(batch.waited), batch.again
