"""Lets cnocr and cnstd be imported without packages that their ONNX path never calls.

They import torchvision at module level, for training and for PyTorch models. One that does not fit the installed
torch breaks that import, and every later import of transformers as well; so none is needed here. They also import
what plots and tells of training: of the 190 MB and two seconds that cnstd's import takes, 145 MB and more than one
second are these.

While `hollow` is active, an import of what it names gives hollow modules; afterwards nothing of them is left in
`sys.modules`, and the rest of the process sees these packages as they really are: there or not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

TORCHVISION: Final = "torchvision"
# All of cnstd's uses of them: drawing, evaluation, and layout analysis by its PyTorch models.
UNCALLED: Final = (TORCHVISION, "matplotlib", "pandas", "scipy", "seaborn")


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


class _Finder(MetaPathFinder, Loader):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def is_ours(self, name: str) -> bool:
        return name.partition(".")[0] in self._names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if self.is_ours(fullname) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _HollowModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Hollow."""


@contextmanager
def hollow(*names: str) -> Iterator[None]:
    """These packages, as far as they are not in use already. Not for two threads at once: the caller holds a lock
    around its imports."""
    finder = _Finder([name for name in names if name not in sys.modules])
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if finder.is_ours(name)]:
            del sys.modules[name]
