"""fastembed, behind one changed import: the model is in the host, shared by all who ask for the same.

    from sharedmodel.client.fastembed import TextEmbedding

    model = TextEmbedding("BAAI/bge-small-en-v1.5")
    for vector in model.embed(["one text", "another"]):
        ...

Constructor, methods, results and exceptions are TextEmbedding's; results to 1e-6. Texts are tokenised, run,
pooled and scaled in the host. Generators stay generators: documents are taken a batch at a time, vectors come
as they are made. `parallel=` keeps several batches on their way, by threads of this process; no worker process
is started, so none can be lost. An object is light: it pickles by reference, works after a fork, and may be used
by any number of threads and processes.

Not carried, each by name: sparse, late-interaction and image models, static and multi-task ones. How many
threads a run has is the host's choice. Elsewhere than on Linux, this is fastembed itself.
"""

from __future__ import annotations

import sys
from typing import Any

if sys.platform == "linux":
    from .text_embedding import TextEmbedding
else:
    from sharedmodel.client.fallback import fall_back

    fall_back("fastembed", globals())

__all__ = ["TextEmbedding"]


def __getattr__(name: str) -> Any:
    if name == "__version__":  # of the library in the host
        from sharedmodel.client.backing import about

        return about("embedder")["versions"]["fastembed"]
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(f"fastembed.{name} is not part of this stand-in; it has: {', '.join(__all__)}")
