"""sentence-transformers, behind one changed import: the model is in the host, shared by all who ask for the same.

    from sharedmodel.client.sentence_transformers import SentenceTransformer

    model = SentenceTransformer("sentence-transformers/all-MiniLM-L6-v2")
    vectors = model.encode(["one text", "another"], normalize_embeddings=True)

Constructor, methods, results and exceptions are SentenceTransformer's; results to 1e-6, because the host runs
the graph in onnxruntime unless it is told otherwise. Texts are tokenised and pooled in the host; cutting,
scaling and rounding of vectors happen here, with numpy. torch is imported when tensors are asked for. Attributes
(`max_seq_length`, `prompts`, `truncate_dim` …) are each object's own and go with its calls. An object is light:
it pickles by reference, works after a fork, and may be used by any number of threads and processes; a pool of
processes is accepted and not needed.

Not carried, each by name: training, saving, the modules inside, tensors of other devices than "cpu", pictures
and sound, `output_value=None`. Elsewhere than on Linux, this is sentence_transformers itself.
"""

from __future__ import annotations

import sys
from typing import Any

if sys.platform == "linux":
    from . import util
    from .model import SentenceTransformer
    from .similarity import SimilarityFunction
else:
    from sharedmodel.client.fallback import fall_back

    fall_back("sentence_transformers", globals())

__all__ = ["SentenceTransformer", "SimilarityFunction", "util"]


def __getattr__(name: str) -> Any:
    if name == "__version__":  # of the library in the host
        from sharedmodel.client.backing import about

        return about("embedder")["versions"]["sentence-transformers"]
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(f"sentence_transformers.{name} is not part of this stand-in; it has: {', '.join(__all__)}")
