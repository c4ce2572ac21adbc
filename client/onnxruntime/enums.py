"""onnxruntime's enumerations."""

from __future__ import annotations

import enum
from typing import Any


class _Enum(enum.Enum):
    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return int(self.value)

    def __repr__(self) -> str:
        return f"<{self}: {self.value}>"


class GraphOptimizationLevel(_Enum):
    """How much of the graph may be rewritten when it loads."""

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(_Enum):
    """Whether branches of the graph run side by side."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class ExecutionOrder(_Enum):
    """The order of nodes that do not depend on one another."""

    DEFAULT = 0
    PRIORITY_BASED = 1
    MEMORY_EFFICIENT = 2


def member(kind: type[enum.Enum], value: Any) -> Any:
    """A value as a member: one of ours, or the real onnxruntime's of the same name. Raises TypeError."""
    if isinstance(value, kind):
        return value
    if type(value).__name__ == kind.__name__ and hasattr(value, "value"):
        return kind(int(value.value))
    raise TypeError(f"a {kind.__name__} is expected, not {value!r}")
