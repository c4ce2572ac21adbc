"""Attributes that take what onnxruntime's take, and keep it as plain data."""

from __future__ import annotations

import enum
import operator
from typing import Any

from sharedmodel.client.refusing import refuse

from .enums import member


class Field:
    """One attribute: its type is that of its default. Raises TypeError for another.

    ``fixed``: why it can't have any value but its default.
    """

    def __init__(self, default: Any, *, fixed: str = "") -> None:
        self.default = default
        self._fixed = fixed
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self._shown = f"{owner.__name__}.{name}"

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        return self if obj is None else obj._values.get(self._name, self.default)

    def __set__(self, obj: Any, value: Any) -> None:
        value = self._converted(value)
        if self._fixed and value != self.default:
            refuse(f"{self._shown} = {value!r}", self._fixed)
        obj._values[self._name] = value

    def _converted(self, value: Any) -> Any:
        if isinstance(self.default, enum.Enum):
            return member(type(self.default), value)
        if isinstance(self.default, bool):
            return bool(value)
        if isinstance(self.default, str) and isinstance(value, str):
            return value
        if isinstance(self.default, int) and hasattr(type(value), "__index__"):
            return operator.index(value)
        raise TypeError(f"{self._shown} is of type {type(self.default).__name__}, not {type(value).__name__}")


class Entries:
    """Pairs of text, as onnxruntime's configuration entries."""

    _KEY_MOST = 1024

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self.pairs: dict[str, str] = {}

    def add(self, key: str, value: str) -> None:
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(
                f"an entry of {self._owner} is two str, not {type(key).__name__} and {type(value).__name__}"
            )
        if not 0 < len(key) <= self._KEY_MOST:
            raise RuntimeError(f"Config key is empty or longer than maximum length {self._KEY_MOST}")
        self.pairs[key] = value

    def get(self, key: str) -> str:
        if key not in self.pairs:
            raise RuntimeError(f"{self._owner} does not have configuration with key: {key}")
        return self.pairs[key]
