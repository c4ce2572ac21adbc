"""FlagEmbedding, behind one changed import: the model is in the host, shared by all who ask for the same.

    from sharedmodel.client.FlagEmbedding import BGEM3FlagModel

    model = BGEM3FlagModel("BAAI/bge-m3")
    found = model.encode(["one text", "another"], return_sparse=True, return_colbert_vecs=True)

Constructor, methods, results and exceptions are BGEM3FlagModel's; results to 1e-5, because the host runs the graph
in onnxruntime unless it is told otherwise. Texts are tokenised, run, scaled and scored in the host, with those of
other callers, sorted by length: `batch_size` makes no difference but to the ColBERT scores of pairs, where the
library's depend on it. Lengths, instructions and what is returned are each object's own and go with its calls. An
object is light: it pickles by reference, works after a fork, and may be used by any number of threads and processes.

Not carried, each by name: the other models, `model` and `tokenizer` themselves, devices other than "cpu", pools of
processes, arguments of the tokenizer. There are no progress bars. Elsewhere than on Linux, this is FlagEmbedding
itself.
"""

from __future__ import annotations

import sys
from typing import Any

if sys.platform == "linux":
    from .model import BGEM3FlagModel
else:
    from sharedmodel.client.fallback import fall_back

    fall_back("FlagEmbedding", globals())

__all__ = ["BGEM3FlagModel"]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(f"FlagEmbedding.{name} is not part of this stand-in; it has: {', '.join(__all__)}")
