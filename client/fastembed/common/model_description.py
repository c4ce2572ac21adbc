"""How a model of one's own is described to `TextEmbedding.add_custom_model`: light twins of fastembed's classes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum

from sharedmodel.client.fallback import fall_back


class PoolingType(str, Enum):  # noqa: UP042 - as fastembed has it, which shows where one is printed
    """How the vectors of tokens become one."""

    CLS = "CLS"
    MEAN = "MEAN"
    LAST_TOKEN = "LAST_TOKEN"
    DISABLED = "DISABLED"


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are: a name on the hub, or a URL. Raises ValueError for neither."""

    hf: str | None = None
    url: str | None = None
    _deprecated_tar_struct: bool = False

    @property
    def deprecated_tar_struct(self) -> bool:
        """Whether an archive has fastembed's old layout."""
        return self._deprecated_tar_struct

    def __post_init__(self) -> None:
        if self.hf is None and self.url is None:
            raise ValueError(f"At least one source should be set, current sources: hf={self.hf}, url={self.url}")


if sys.platform != "linux":
    fall_back("fastembed.common.model_description", globals(), quietly=True)
