"""Lets cnocr and cnstd be imported without packages that their ONNX path never calls.

They import torchvision at module level, for training and for PyTorch models. One that does not fit the installed
torch breaks that import, and every later import of transformers as well; so none is needed here. They also import
what plots and tells of training: of the 190 MB that cnstd's import takes, 145 MB are these.

While `hollow` is active, modules of these two libraries that import what it names get a hollow module, which nobody
else sees: in the rest of the process, in other threads too, these packages are as they really are, there or not.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

TORCHVISION: Final = "torchvision"
# All of cnstd's uses of them: drawing, evaluation, and layout analysis by its PyTorch models.
UNCALLED: Final = (TORCHVISION, "matplotlib", "pandas", "scipy", "seaborn")
_IMPORTERS: Final = ("cnocr", "cnstd")


class _Hollow(type):
    """A class whose every attribute is another such class: enough to be imported, subclassed, and called in vain."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Hollow(name, (), {})


class _HollowModule(ModuleType):
    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Hollow(name, (), {})


@contextmanager
def hollow(*names: str) -> Iterator[None]:
    """These packages, as far as they are not in use already: then they fit. Not for two threads at once: the caller
    holds a lock around its imports."""
    absent = [name for name in names if name not in sys.modules]
    usual = builtins.__import__

    def imported(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        package = name.partition(".")[0]
        if level == 0 and package in absent and _name(globals).partition(".")[0] in _IMPORTERS:
            return _HollowModule(name if fromlist else package)
        return usual(name, globals, locals, fromlist or (), level)

    builtins.__import__ = imported
    try:
        yield
    finally:
        builtins.__import__ = usual


def _name(globals: Mapping[str, Any] | None) -> str:
    return str((globals or {}).get("__name__", ""))
