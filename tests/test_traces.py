"""A span for each call, through OpenTelemetry's SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from sharedmodel.call import NEVER, Call
from sharedmodel.client import connect
from sharedmodel.objects import Objects
from sharedmodel.server.metrics.traces import Spans, asked_for, traces

from .servers import ECHO, running_server, until


class Net:
    def run(self) -> None: ...


@pytest.fixture
def objects() -> Objects:
    found = Objects()
    found.announce("net", lambda: found.get("net"))
    found.publish("net", Net())
    return found


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, ()),
        ({"OTEL_TRACES_EXPORTER": "none"}, ()),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ("console", "otlp")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_TRACES_EXPORTER": "none"}, ()),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}, ()),
    ],
)
def test_traces_are_made_where_the_environment_asks_for_them(environ: dict[str, str], names: tuple[str, ...]) -> None:
    assert asked_for(environ) == names


def test_nothing_is_made_unasked(objects: Objects) -> None:
    assert traces(objects, "") is None


def test_an_exporter_that_is_not_there_is_told_in_the_log_and_costs_nothing_else(
    objects: Objects, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin-of-old")
    assert traces(objects, "") is None
    assert "zipkin-of-old" in caplog.text or "SDK is missing" in caplog.text


class TestSpans:
    """With the SDK."""

    @pytest.fixture
    def exporter(self) -> Any:
        pytest.importorskip("opentelemetry.sdk")
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        return InMemorySpanExporter()

    @pytest.fixture
    def spans(self, exporter: Any, objects: Objects) -> Spans:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor

        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        return Spans(provider, objects)

    @staticmethod
    def call(ident: Any = "net", **more: Any) -> Call:
        peer: Any = SimpleNamespace(number=3, who=SimpleNamespace(pid=77))
        call = Call(peer, [1, 5, ident, "run", [], {}, None, None], [], None)
        call.began, call.made = call.taken + 0.25, call.taken + 0.75
        for key, value in more.items():
            setattr(call, key, value)
        return call

    @staticmethod
    def seconds(span: Any) -> float:
        return float(span.end_time - span.start_time) / 1e9

    def test_the_stages_of_a_call_are_spans_below_its_own(self, spans: Spans, exporter: Any) -> None:
        call = self.call()
        spans._make(call, call.taken + 1.0, 10**18)
        wait, infer, transfer, whole = exporter.get_finished_spans()
        found = [(span.name, round(self.seconds(span), 6)) for span in (wait, infer, transfer, whole)]
        assert found == [("wait", 0.25), ("infer", 0.5), ("transfer", 0.25), ("net.run", 1.0)]
        assert whole.end_time == 10**18 and {span.parent.span_id for span in (wait, infer, transfer)} == {
            whole.context.span_id
        }
        assert whole.attributes["sharedmodel.client"] == 77 and whole.attributes["sharedmodel.outcome"] == "ok"

    def test_a_call_in_a_batch_tells_of_how_many_it_was_one(self, spans: Spans, exporter: Any) -> None:
        call = self.call()
        call.joined = (call.taken + 0.5, 8)
        spans._make(call, call.taken + 1.0, 10**18)
        *stages, whole = exporter.get_finished_spans()
        assert [span.name for span in stages] == ["wait", "batch", "infer", "transfer"]
        assert whole.attributes["sharedmodel.batch_size"] == 8

    def test_a_call_that_never_ran_is_an_error_without_stages(self, spans: Spans, exporter: Any) -> None:
        spans.ended(self.call(began=0.0, made=NEVER, outcome="overloaded"))
        (whole,) = exporter.get_finished_spans()
        assert whole.status.status_code.name == "ERROR" and whole.status.description == "overloaded"

    def test_it_belongs_to_the_trace_of_its_caller(self, spans: Spans, exporter: Any) -> None:
        trace, parent = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
        spans.ended(self.call(trace=f"00-{trace:032x}-{parent:016x}-01"))
        whole = exporter.get_finished_spans()[-1]
        assert (whole.context.trace_id, whole.parent.span_id) == (trace, parent)

    def test_what_its_caller_does_not_trace_is_not_traced_here(self, spans: Spans, exporter: Any) -> None:
        spans.ended(self.call(trace=f"00-{1:032x}-{2:016x}-00"))
        assert exporter.get_finished_spans() == ()

    def test_a_trace_that_is_none_is_left_alone(self, spans: Spans, exporter: Any) -> None:
        spans.ended(self.call(trace="x" * 55))
        assert exporter.get_finished_spans()[-1].parent is None

    @pytest.mark.parametrize("ident", [0, "#models", "made up"])
    def test_what_is_no_model_has_no_span(self, spans: Spans, exporter: Any, ident: Any) -> None:
        spans.ended(self.call(ident))
        assert exporter.get_finished_spans() == ()

    def test_a_server_exports_the_spans_of_its_calls(self, runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("opentelemetry.sdk")
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        with running_server(ECHO, runtime) as server:
            echo = connect(server.address).model("echo")
            with self.caller() as (trace, parent):
                assert echo.add(1) == 1
            until(lambda: '"name": "echo.add"' in server.log, lambda: server.log)
            text = server.log[server.log.index('{\n    "name": "wait"') :]
            span, _ = json.JSONDecoder().raw_decode(text)
            assert span["parent_id"] is not None and span["context"]["trace_id"] == f"0x{trace:032x}"
            until(lambda: f'"parent_id": "0x{parent:016x}"' in server.log, lambda: server.log)

    @staticmethod
    @contextmanager
    def caller() -> Iterator[tuple[int, int]]:
        """A span of the caller's program: its trace, and itself."""
        from opentelemetry.sdk.trace import TracerProvider

        with TracerProvider().get_tracer("caller").start_as_current_span("page") as span:
            context = span.get_span_context()
            yield context.trace_id, context.span_id
