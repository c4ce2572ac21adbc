"""Lets cnocr and cnstd be imported without torchvision, which their ONNX path never calls.

They import it at module level, for training and for PyTorch models. A torchvision that does not
fit the installed torch breaks that import, and every later import of transformers as well; so
none is needed here. While `stand_in` is active, `import torchvision...` gives hollow modules;
afterwards nothing of them is left in `sys.modules`, and the rest of the process sees torchvision
as it really is: there or not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_NAME = "torchvision"


class _Hollow(type):
    """A class whose every attribute is another such class: enough to be imported or subclassed."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Hollow(name, (), {})


class _HollowModule(ModuleType):
    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Hollow(name, (), {})


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        ours = fullname.partition(".")[0] == _NAME
        return ModuleSpec(fullname, self, is_package=True) if ours else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _HollowModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Hollow."""


@contextmanager
def stand_in() -> Iterator[None]:
    """Not for two threads at once: the caller holds a lock around its imports."""
    if _NAME in sys.modules:  # a real one is in use already, so it fits
        yield
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == _NAME]:
            del sys.modules[name]
