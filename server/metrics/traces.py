"""A span for each call of a model, where OpenTelemetry's SDK is installed and its environment names an exporter.

    net.run              from the call's frame to its answer; what it was, who asked, how it ended
    ├─ wait              as the stages of `meter`; made when the call has ended
    ├─ batch
    ├─ infer
    └─ transfer

It lies below the span that its caller was in, in whichever process, where the caller's program traces as well.
The variables are OpenTelemetry's own: OTEL_TRACES_EXPORTER (or an OTEL_EXPORTER_OTLP_ENDPOINT, which means
"otlp"), OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_SDK_DISABLED and those of the exporter.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, Final

from sharedmodel.call import Call
from sharedmodel.objects import Objects

from .outcome import outcome_of
from .stages import OK

_EXPORTERS: Final = "opentelemetry_traces_exporter"
_OTLP: Final = ("otlp_proto_http", "otlp_proto_grpc")  # the first that is installed

logger = logging.getLogger("sharedmodel.host")


def asked_for(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The names of the exporters that the environment asks for; none where it does not."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ()
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    names = (environ.get("OTEL_TRACES_EXPORTER") or ("otlp" if endpoint else "none")).split(",")
    return tuple(name.strip() for name in names if name.strip() not in ("", "none"))


def traces(objects: Objects, host: str) -> Callable[[Call], None] | None:
    """What is to hear of each call that has ended; None where nobody asked for traces, or they can't be made."""
    names = asked_for()
    if not names:
        return None
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        logger.warning("traces are asked for, and OpenTelemetry's SDK is missing: pip install opentelemetry-sdk")
        return None
    try:
        return Spans(_provider(names, host), objects).ended
    except Exception:  # a setting that the SDK or the exporter does not take
        logger.exception("no traces are made")
        return None


def _provider(names: tuple[str, ...], host: str) -> Any:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    own = {"sharedmodel.host": host, **({} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "sharedmodel"})}
    provider = TracerProvider(resource=Resource.create(own))
    for name in names:
        provider.add_span_processor(BatchSpanProcessor(_exporter(name)()))
    return provider


def _exporter(name: str) -> Callable[[], Any]:
    from importlib.metadata import entry_points

    there = {each.name: each for each in entry_points(group=_EXPORTERS)}
    for wanted in _OTLP if name == "otlp" else (name,):
        if wanted in there:
            found: Callable[[], Any] = there[wanted].load()
            return found
    raise ValueError(f"no exporter {name!r} is installed; there are: {', '.join(sorted(there)) or 'none'}")


class Spans:
    """Makes them, from the times that calls have in them, with a `TracerProvider` of OpenTelemetry's."""

    def __init__(self, provider: Any, objects: Objects) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()
        self._tracer = provider.get_tracer("sharedmodel")
        self._objects = objects

    def ended(self, call: Call) -> None:
        """On the thread that answers it."""
        if self._objects.announced(call.ident) is None:
            return  # not a model's
        try:
            self._make(call, time.monotonic(), time.time_ns())
        except Exception:
            logger.exception("a span could not be made")  # the call is owed its answer all the same

    def _make(self, call: Call, now: float, epoch: int) -> None:
        def at(moment: float) -> int:
            return epoch - int(1e9 * (now - moment))

        name = f"{call.ident}.{call.method}"
        kind = self._trace.SpanKind.SERVER
        caller = self._propagator.extract({} if call.trace is None else {"traceparent": call.trace})
        outcome = outcome_of(call, now)
        about, begun = _about(call, outcome), at(call.taken)
        span = self._tracer.start_span(name, context=caller, kind=kind, attributes=about, start_time=begun)
        if outcome != OK:
            span.set_status(self._trace.StatusCode.ERROR, outcome)
        if span.is_recording():
            inside = self._trace.set_span_in_context(span)
            for stage, start, end in _stages(call, now):
                part = self._tracer.start_span(stage, context=inside, start_time=at(start))
                part.end(at(end))
        span.end(at(now))


def _about(call: Call, outcome: str) -> dict[str, Any]:
    peer = call.peer
    return {
        "sharedmodel.model": call.ident,
        "sharedmodel.method": call.method,
        "sharedmodel.session": peer.number,
        "sharedmodel.request": call.rid,
        "sharedmodel.client": peer.who.pid,
        "sharedmodel.outcome": outcome,
        **({} if call.joined is None else {"sharedmodel.batch_size": call.joined[1]}),
    }


def _stages(call: Call, now: float) -> Iterator[tuple[str, float, float]]:
    if not call.began:
        return
    made, joined = min(call.made, now), call.began if call.joined is None else call.joined[0]
    yield "wait", call.taken, call.began
    if call.joined is not None:
        yield "batch", call.began, joined
    yield "infer", joined, made
    yield "transfer", made, now
