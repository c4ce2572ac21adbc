"""A status as Prometheus reads it.

Every series of a host names it, so that a counter that begins from 0 with a new process is seen as such; the
first host is "#first". A stage's histogram has every other bound of those that are kept: 1, 2, 5, 10 ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.registry import Collector

from .health import unready
from .histogram import BOUNDS, SIZES
from .stages import BATCH, OK

FIRST: Final = "#first"
SUPERVISOR: Final = "#supervisor"
_SHOWN: Final = tuple(index for index, bound in enumerate(BOUNDS) if f"{bound:e}"[:3] in ("1.0", "2.0", "5.0"))
_MEMORY: Final = {"rss": "memory", "pss": "pss", "peak": "peak"}

Rows = Iterable[tuple[list[Any], float]]


class StatusCollector(Collector):
    """The metrics of one status."""

    def __init__(self, status: dict[str, Any]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        hosts = [(host["name"] or FIRST, host) for host in self._status["hosts"]]
        yield from _server(self._status)
        yield from _states(self._status, hosts)
        yield from _calls(hosts)
        yield from _sessions(self._status)
        yield from _processes(self._status, hosts)


def text(status: dict[str, Any]) -> str:
    """In the plain format."""
    return generate_latest(StatusCollector(status)).decode()


def negotiated(status: dict[str, Any], accept: str) -> tuple[bytes, str]:
    """In the format that the reader asks for, and what that is called."""
    encode, content_type = choose_encoder(accept)
    return encode(StatusCollector(status)), content_type


def _gauge(name: str, about: str, labels: list[str], rows: Rows) -> Metric:
    family = GaugeMetricFamily(f"sharedmodel_{name}", about, labels=labels)
    return _filled(family, rows)


def _counter(name: str, about: str, labels: list[str], rows: Rows) -> Metric:
    family = CounterMetricFamily(f"sharedmodel_{name}", about, labels=labels)
    return _filled(family, rows)


def _filled(family: Any, rows: Rows) -> Metric:
    for labels, value in rows:
        family.add_metric([str(label) for label in labels], value)
    found: Metric = family
    return found


def _server(status: dict[str, Any]) -> Iterator[Metric]:
    yield _gauge("ready", "Whether every model that should be ready is.", [], [([], float(not unready(status)))])
    memory = status["memory"]
    about = "The main memory: what the server may use, and what of that is gone."
    yield _gauge("main_memory_bytes", about, ["kind"], [([kind], memory[kind]) for kind in ("budget", "in_use")])
    shared = status.get("shared_memory")
    if shared is not None:
        rows: Rows = [([kind], shared[kind]) for kind in ("size", "used")]
        yield _gauge("dev_shm_bytes", "Shared memory of the machine, whoever uses it.", ["kind"], rows)


def _states(status: dict[str, Any], hosts: list[tuple[str, dict[str, Any]]]) -> Iterator[Metric]:
    models: Rows = [([name, told["state"]], 1) for name, told in sorted(status["models"].items())]
    yield _gauge("model_state", "1 for the state that a model is in.", ["model", "state"], models)
    rows: Rows = [
        ([name, model], taken) for name, host in hosts for model, taken in host.get("model_memory", {}).items()
    ]
    about = "By how much a host grew when it loaded a model."
    yield _gauge("model_memory_bytes", about, ["host", "model"], rows)
    rows = [
        ([name, model, device], taken)
        for name, host in hosts
        for model, (device, taken) in host.get("model_devices", {}).items()
    ]
    about = "By how much more of its GPU was in use when a model was loaded."
    yield _gauge("model_device_memory_bytes", about, ["host", "model", "device"], rows)
    rows = [([device["name"], kind], device[kind]) for device in status["devices"] for kind in ("budget", "in_use")]
    about = "Memory of the GPUs that models run on: what may be used, and what is, as of the last load or ten seconds."
    yield _gauge("device_memory_bytes", about, ["device", "kind"], rows)
    rows = [([name, host["state"]], 1) for name, host in hosts]
    yield _gauge("host_state", "1 for the state that a host is in.", ["host", "state"], rows)
    rows = [([name, cause], count) for name, host in hosts for cause, count in sorted(host["causes"].items())]
    about = "Ends of a host: exit, a signal's name, out-of-memory, stuck, or asked for."
    yield _counter("host_restarts", about, ["host", "cause"], rows)


def _calls(hosts: list[tuple[str, dict[str, Any]]]) -> Iterator[Metric]:
    told = [(name, *each) for name, host in hosts for each in host.get("calls", ())]
    rows: Rows = [([name, *labels], count) for name, *labels, count, _ in told]
    about = 'Calls that have ended; the outcome is "ok" or the code of an error, "model" for the model\'s own.'
    yield _counter("calls", about, ["host", "model", "method", "outcome"], rows)
    refused: dict[tuple[str, str, str], int] = {}
    for name, model, _, outcome, _, count in told:
        if outcome != OK and count:
            refused[name, model, outcome] = refused.get((name, model, outcome), 0) + count
    about = "Calls that have ended without having been executed."
    rows = [(list(labels), count) for labels, count in refused.items()]
    yield _counter("refusals", about, ["host", "model", "reason"], rows)
    under_way = [(name, model, counts) for name, host in hosts for model, counts in host.get("under_way", {}).items()]
    for key, about in (("waiting", "Calls that wait for their execution."), ("running", "Calls being executed.")):
        rows = [([name, model], counts[key]) for name, model, counts in under_way]
        yield _gauge(f"calls_{key}", about, ["host", "model"], rows)
    yield _latencies(hosts)
    yield _batches(hosts)


def _latencies(hosts: list[tuple[str, dict[str, Any]]]) -> Metric:
    about = "Time of executed calls: wait for execution, batch (joining inputs), infer, transfer of the result; total."
    family = HistogramMetricFamily("sharedmodel_call_seconds", about, labels=["host", "model", "stage"])
    for name, host in hosts:
        for model, stages in host.get("stages", {}).items():
            for stage, told in stages.items():
                if stage == BATCH and not told["seconds"]:
                    continue  # none of its calls ran in one
                sums = list(accumulate(told["buckets"]))
                buckets = [*((str(BOUNDS[index]), sums[index]) for index in _SHOWN), ("+Inf", sums[-1])]
                family.add_metric([name, model, stage], buckets, told["seconds"])
    return family


def _batches(hosts: list[tuple[str, dict[str, Any]]]) -> Metric:
    family = HistogramMetricFamily("sharedmodel_batch_size", "Calls that ran as one.", labels=["host", "model"])
    for name, host in hosts:
        for model, runs in host.get("runs", {}).items():
            sums = list(accumulate(runs))
            buckets = [*((str(float(size)), sums[index]) for index, size in enumerate(SIZES)), ("+Inf", sums[-1])]
            calls = sum(host["stages"][model]["total"]["buckets"])  # each is in one run
            family.add_metric([name, model], buckets, calls)
    return family


def _sessions(status: dict[str, Any]) -> Iterator[Metric]:
    sessions = [([each["host"] or FIRST, each["number"], each["pid"]], each) for each in status["sessions"]]
    labels = ["host", "session", "pid"]
    about = "What a session holds: of its requests' and replies' shared memory, and of frames it has not read."
    kinds = ("requests", "replies", "unsent")
    rows: Rows = [([*names, kind], each[kind]) for names, each in sessions for kind in kinds]
    yield _gauge("session_bytes", about, [*labels, "kind"], rows)
    yield _gauge("session_calls", "Its calls under way.", labels, [(names, each["calls"]) for names, each in sessions])


def _processes(status: dict[str, Any], hosts: list[tuple[str, dict[str, Any]]]) -> Iterator[Metric]:
    here = [(name, host) for name, host in hosts if "cpu" in host]
    rows = [([name, kind], host[key]) for name, host in here for kind, key in _MEMORY.items() if key in host]
    rows.append(([SUPERVISOR, "rss"], status["supervisor"]["memory"]))
    about = "Memory of a process: resident, its proportional share, and the most it ever was."
    yield _gauge("memory_bytes", about, ["host", "kind"], rows)
    yield _counter("cpu_seconds", "Processor time.", ["host"], [([name], host["cpu"]) for name, host in here])
    for key in ("descriptors", "threads"):
        yield _gauge(key, f"Open {key} of a process.", ["host"], [([name], host[key]) for name, host in here])
    since = [([name], host["since"]) for name, host in here]
    yield _gauge("host_start_time_seconds", "When it was started, since the epoch.", ["host"], since)
