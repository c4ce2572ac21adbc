"""The trace that a call belongs to, as W3C Trace Context's ``traceparent`` tells it. Imports nothing that traces.

A program that traces has loaded OpenTelemetry's API already; one that has not is asked nothing.
"""

from __future__ import annotations

import sys
from typing import Final

API: Final = "opentelemetry.trace"
LENGTH: Final = 55  # version, trace, parent and flags in hexadecimal digits: 00-<32>-<16>-<2>


def traceparent() -> str | None:
    """Of the span that is current on this thread, or in this task; None where there is none."""
    current = getattr(sys.modules[API], "get_current_span", None)
    if current is None:  # it is just being imported
        return None
    context = current().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
