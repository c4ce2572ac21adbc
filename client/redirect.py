"""`install()`: imports of a model library give its stand-in, in whatever code they are.

    from sharedmodel.client import install

    install()  # before anything imports one of the libraries
    import some_library_that_imports_onnxruntime

A finder put first answers for the libraries and for all that lies in them: what the stand-in has not is
refused by name, so that the two are never mixed. It never answers in a host, which needs the real ones.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.abc import Loader
else:
    Loader = object  # with what it imports, `importlib.abc` takes a megabyte of every client

LIBRARIES: Final = (
    "FlagEmbedding", "cnocr", "cnstd", "fastembed", "onnxruntime", "sentence_transformers", "transformers",
)  # fmt: skip
_HERE: Final = "sharedmodel.client."
# Loaded in host processes only.
_HOST: Final = "sharedmodel.server.table"


def install(*libraries: str) -> None:
    """Redirect the imports of these libraries in this process; of all there are, without arguments.

    Raises ValueError for one without a stand-in, ImportError for one that is imported already. Where models
    can't be shared (not Linux) nothing is redirected.
    """
    if unknown := set(libraries) - set(LIBRARIES):
        raise ValueError(f"no stand-in for {', '.join(sorted(unknown))}; there are: {', '.join(LIBRARIES)}")
    if sys.platform != "linux":
        return
    names = libraries or LIBRARIES
    for name in names:
        module = sys.modules.get(name)
        if module is not None and not module.__name__.startswith(_HERE):
            raise ImportError(f"{name} is imported already: call install() before anything imports it", name=name)
    finder = _installed() or _Finder()
    finder.libraries |= set(names)
    if finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)


def uninstall() -> None:
    """Imports give the libraries themselves again. What was imported stays with who imported it."""
    finder = _installed()
    if finder is None:
        return
    sys.meta_path.remove(finder)
    for name in [name for name in sys.modules if name.partition(".")[0] in finder.libraries]:
        if sys.modules[name].__name__.startswith(_HERE):
            del sys.modules[name]


class _Finder:
    """Answers for the libraries that are redirected."""

    def __init__(self) -> None:
        self.libraries: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in self.libraries or _HOST in sys.modules:
            return None
        if importlib.util.find_spec(_HERE + fullname) is None:
            raise ModuleNotFoundError(
                f"{fullname} is not part of the stand-in that sharedmodel.client.install() put in its place",
                name=fullname,
            )
        return ModuleSpec(fullname, _Alias(_HERE + fullname))


class _Alias(Loader):
    """Gives a module that has a name of its own, and leaves it as it is."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has just put the alias's there


def _installed() -> _Finder | None:
    return next((finder for finder in sys.meta_path if isinstance(finder, _Finder)), None)
