"""Translation by Marian's models, from text to text; `sharedmodel.server.models.translator` puts the parts together.

    texts ─ sentences ─► pieces ─ tokens ─► rows ─ engines ─► token ids ─ tokens ─► texts
                          rules: what generation heeds; search: greedy and beams, over any decoder

Everything happens in the host. The graphs, their largest logits included, and the tokenizer are native code that
lets go of the interpreter's lock; what is left to Python is a few small arrays for each step. So a caller needs
neither tokenizer nor vocabulary, rows of different callers run together, and what crosses is text.
"""
