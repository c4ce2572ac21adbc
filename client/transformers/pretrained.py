"""What is made by `from_pretrained`: a model of translation in the host, or its tokenizer."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from sharedmodel.client.backing import Backing
from sharedmodel.client.front import StandIn
from sharedmodel.client.raising import as_the_library

from .wanting import check_rest, twin_of, wanted


class Pretrained(StandIn):
    """Either of them. Light, and it pickles by reference."""

    _twin = staticmethod(twin_of)
    _inside: ClassVar[str] = "the model is in the host"

    def __init__(self, backing: Backing) -> None:
        self._backing = backing

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **options: Any) -> Self:
        """Of a folder, or of a name on the hub. Raises OSError where there is none."""
        place = {name: options.pop(name) for name in ("revision", "cache_dir", "local_files_only") if name in options}
        check_rest(f"{cls.__name__}.from_pretrained", options)
        with as_the_library(twin_of):
            backing = Backing(wanted("translator", pretrained_model_name_or_path, **place))
        return cls(backing)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"{type(self).__name__}.{name} is not part of this stand-in: {self._inside}")
