"""BGE-M3, from texts to dense, lexical and ColBERT vectors; `sharedmodel.server.models.bgem3` puts the parts together.

    texts ─ tokens ─► rows ─ packing ─► runs ─ engines ─┬─► first token's vector ─────────► dense   (size,)
    (as for sentence embeddings)                        ├─► weights of tokens ─ lexical ──► {token: largest weight}
                                                        └─► vectors of tokens ────────────► ColBERT (tokens - 1, size)

One run makes all that any of its rows is wanted for. Everything happens in the host, in native code that leaves
the interpreter alone but for a loop over rows; scores of pairs are made here as well, so that vectors of long
texts need not cross.
"""
