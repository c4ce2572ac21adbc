"""How large will the outputs be? Asked before a run, so that it can write them in place.

Pure bookkeeping: shapes in, shapes out, no onnxruntime. An output's shape comes from, in order:

    learnt      what a run with the same input shapes gave
    declared    the model's own statement, symbolic dimensions taken from the actual inputs
    nothing     None: onnxruntime allocates, and the caller tells us what came (`learn`)

A prediction may be wrong (models name dimensions carelessly). Then the run fails cleanly, is
done again without predictions, and `learn` remembers. An output that contradicts what was
learnt depends on the data, and is never predicted again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

Shape = tuple[int, ...]
Declared = Sequence[int | str | None]
Key = tuple[Shape, ...]

# Per dimension: a number, or (input, axis) where the number is found.
_Rule = tuple[int | tuple[int, int], ...]


class ShapeBook:
    """Predicts each output's shape from the shapes of all inputs, in the model's order."""

    def __init__(self, inputs: Sequence[Declared], outputs: Sequence[Declared], remembered: int = 256) -> None:
        self._rules = [_rule(inputs, declared) for declared in outputs]
        self._ranks = [len(declared) for declared in inputs]
        self._known: dict[Key, list[Shape | None]] = {}
        self._learnt: set[tuple[Key, int]] = set()
        self._changing: set[int] = set()
        self._remembered = remembered
        self._lock = threading.Lock()

    def predict(self, key: Key) -> Sequence[Shape | None]:
        """One entry for each output of the model. The hot path: one look-up, no lock."""
        known = self._known.get(key)
        if known is not None:
            return known
        with self._lock:
            return self._remember(key)

    def learn(self, key: Key, output: int, shape: Shape) -> None:
        """What a run gave. Told of a failed prediction too, with the shape that was right."""
        with self._lock:
            known = self._remember(key)
            if output in self._changing or known[output] == shape:
                return
            if (key, output) in self._learnt:
                self._give_up(output)
                return
            self._learnt.add((key, output))
            known[output] = shape

    def give_up(self, output: int) -> None:
        """Never predict this output again: it could not be written in place."""
        with self._lock:
            self._give_up(output)

    def _give_up(self, output: int) -> None:
        self._changing.add(output)
        for known in self._known.values():
            known[output] = None

    def _remember(self, key: Key) -> list[Shape | None]:
        known = self._known.get(key)
        if known is None:
            while len(self._known) >= self._remembered:
                oldest = next(iter(self._known))
                del self._known[oldest]
                self._learnt.difference_update([(oldest, at) for at in range(len(self._rules))])
            known = self._known[key] = [
                None if at in self._changing else self._apply(rule, key) for at, rule in enumerate(self._rules)
            ]
        return known

    def _apply(self, rule: _Rule | None, key: Key) -> Shape | None:
        if rule is None:
            return None
        if any(rank and rank != len(shape) for rank, shape in zip(self._ranks, key, strict=True)):
            return None  # the run will be refused, in onnxruntime's own words
        return tuple(d if isinstance(d, int) else key[d[0]][d[1]] for d in rule)


def _rule(inputs: Sequence[Declared], declared: Declared) -> _Rule | None:
    # onnxruntime reports a scalar and an unknown rank alike, as []: neither is predicted.
    if not declared:
        return None
    found = [d if isinstance(d, int) else _source(inputs, d) for d in declared]
    rule = [d for d in found if d is not None]
    return tuple(rule) if len(rule) == len(found) else None


def _source(inputs: Sequence[Declared], name: str | None) -> tuple[int, int] | None:
    if name is None:
        return None
    for number, dims in enumerate(inputs):
        for axis, dim in enumerate(dims):
            if dim == name:
                return number, axis
    return None
