"""Sentence embeddings, from text to vectors; `sharedmodel.server.models.embedder` puts the parts together.

    texts ─ tokens ─► rows ─ packing ─► runs ─ engines ─► hidden states ─ pooling ─► vectors
            recipe: what the files of a model say about each of these steps

Everything happens in the host, in native code that leaves the interpreter alone: tokenising (the fast
tokenizers), the graph, and pooling (matrix products). So a caller needs neither a tokenizer nor its
vocabulary, rows of different callers meet before they are padded, and what crosses is text and vectors,
not token ids and hidden states. Scaling to length 1, cutting and rounding of vectors are the caller's.
"""
