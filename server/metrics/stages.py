"""The words for how calls end and what their time goes to. Imports nothing: the supervisor uses them too."""

from __future__ import annotations

from typing import Final

BATCH: Final = "batch"
STAGES: Final = ("wait", BATCH, "infer", "transfer", "total")
OK: Final = "ok"  # any other outcome is the code of an error (see `sharedmodel.errors`)
UNKNOWN: Final = "?"  # a method that the model does not have, or not yet
