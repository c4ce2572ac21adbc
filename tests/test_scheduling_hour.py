"""An hour of mixed traffic: poisson clients, a noisy one, one that gives up, one in bursts, one in a hurry."""

from __future__ import annotations

from collections import Counter
from functools import partial
from statistics import mean

import pytest

from sharedmodel.server.scheduling.settings import Scheduling

from .jobs import FakeJob
from .traffic import Traffic

HOUR = 3600.0
HURRY = 3.0
TOKEN = 0.0015
LONGEST = 0.8 + TOKEN * 2000  # as long as the token budget allows
QUIET = [f"quiet {number}" for number in range(7)]


def cost(jobs: list[FakeJob]) -> float:
    """Nearly a second, and a little for each padded token."""
    return 0.8 + TOKEN * sum(job.rows for job in jobs) * max(job.length for job in jobs)


def an_hour(settings: Scheduling, seed: int) -> Traffic:
    traffic = Traffic(settings, cost, seed)
    pick = traffic.random

    def job(client: str, deadline: float | None = None) -> FakeJob:
        length = min(2000, int(pick.lognormvariate(3.5, 1.0)) + 1)
        return FakeJob(client, pick.choice("kl"), pick.choice((1, 1, 1, 2)), length, deadline=deadline)

    def given_up() -> FakeJob:
        made = job("gives up")
        traffic.at(traffic.now + pick.expovariate(0.5), lambda: give_up(made))
        return made

    def give_up(made: FakeJob) -> None:
        if pick.random() < 0.5:
            made.cancelled = True  # it is found out when its turn comes
        elif traffic.policy.withdraw(made):
            traffic.ends[made].append("cancelled")

    for client in QUIET:
        traffic.poisson(0.05, HOUR, partial(job, client))
    traffic.poisson(7.0, HOUR, partial(job, "noisy"))
    traffic.poisson(0.1, HOUR, given_up)
    traffic.poisson(0.1, HOUR, lambda: job("in a hurry", traffic.now + HURRY))
    traffic.bursts(300.0, 40, HOUR, partial(job, "in bursts"))
    traffic.run()
    return traffic


@pytest.mark.parametrize("seed", [1, 2])
def test_in_an_hour_every_job_ends_once_quiet_clients_wait_little_and_no_lane_is_idle(seed: int) -> None:
    settings = Scheduling(max_batch=8, max_wait=0.5, token_budget=2000, buckets=(32, 128, 512), queue=256, lanes=2)
    traffic = an_hour(settings, seed)
    assert {len(ends) for ends in traffic.ends.values()} == {1}
    ends = Counter((str(job.client), *ends) for job, ends in traffic.ends.items())
    for client in QUIET:
        assert ends[client, "served"] > 100 and not ends[client, "refused"]
        # At most one run begins before its turn, after the one that is under way.
        assert max(traffic.waits[client]) < settings.max_wait + 2 * LONGEST
        assert mean(traffic.waits[client]) < 1.2
    assert ends["noisy", "served"] > 20_000 and ends["noisy", "refused"] > 1000
    assert mean(traffic.waits["noisy"]) > 10 * mean(traffic.waits["quiet 0"])
    assert ends["gives up", "cancelled"] > 50 and ends["in bursts", "served"] == 11 * 40
    assert max(traffic.waits["in a hurry"]) < HURRY
    assert traffic.idle_with_work == 0
    assert traffic.busy > 0.99 * settings.lanes * traffic.now
    assert mean(traffic.sizes) > 5 and max(traffic.sizes) <= settings.max_batch


def test_an_hour_with_lanes_to_spare_waits_for_batches_only() -> None:
    settings = Scheduling(max_batch=8, max_wait=0.5, buckets=(32, 128, 512), queue=256, lanes=16)
    traffic = an_hour(settings, 3)
    assert {len(ends) for ends in traffic.ends.values()} == {1}
    assert {end for ends in traffic.ends.values() for end in ends} <= {"served", "cancelled"}
    waits = [wait for waits in traffic.waits.values() for wait in waits]
    assert max(waits) <= settings.max_wait + 1e-6 and traffic.idle_with_work == 0
