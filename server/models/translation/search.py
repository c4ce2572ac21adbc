"""Greedy search and beam search over any decoder, in small arrays; equal to `generate` of transformers. Pure.

Each row ends for itself: what the others do, and who they are, changes nothing for it. So a row that is done
leaves the run, and the rest goes on with less.

    rows ─► begin ─► step: token of each beam ─► its likeliest next ones ─► choose ─► reorder, drop rows ─► step …
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np

from sharedmodel.tensor import Array

from .rules import Rules

_NEVER: Final = np.float32(-1e9)  # transformers' own: what is worth no more than that is not chosen


class Likeliest(NamedTuple):
    """Of each beam: logits (beams, top) of the likeliest tokens, falling, and which they are; the logarithms of
    the sums over all tokens that may come, and over all tokens at all (beams,)."""

    logits: Array
    ids: Array
    norm: Array
    norm_all: Array


class Decoder(Protocol):
    """A model that has read some rows, with a number of beams for each."""

    def step(self, tokens: Array, bias: Array, top: int) -> Likeliest:
        """What may come after one more token of each beam. ``bias`` (vocabulary,) is added to the logits."""

    def keep(self, rows: Array | None, beams: Array) -> None:
        """Go on with these rows (None: all), and of all beams that there were with these."""

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""


def search(decoder: Decoder, rows: int, rules: Rules) -> list[list[list[int]]]:
    """Of each row ``num_return_sequences`` lists of token ids, the best first, from the start to the end."""
    if rules.num_beams == 1:
        return [[found] for found in _greedy(decoder, rows, rules)]
    return _Beams(decoder, rows, rules).run()


def _greedy(decoder: Decoder, rows: int, rules: Rules) -> list[list[int]]:
    found: list[list[int]] = [[rules.start] for _ in range(rows)]
    going = np.arange(rows)
    tokens = np.full(rows, rules.start, np.int64)
    for length in range(1, rules.max_length):
        if rules.forced_eos is not None and length == rules.max_length - 1:
            tokens = np.full(len(going), min(rules.forced_eos), np.int64)
        else:
            tokens = decoder.step(tokens, _bias(rules, length, decoder.vocabulary), 1).ids[:, 0]
        for row, token in zip(going.tolist(), tokens.tolist(), strict=True):
            found[row].append(token)
        (open_,) = np.nonzero(~np.isin(tokens, rules.eos))
        if not len(open_):
            break
        if len(open_) < len(going):
            decoder.keep(open_, open_)
            going, tokens = going[open_], tokens[open_]
    return found


class _Beams:
    """A run. Arrays are (rows that go on, beams …); ``finished`` sequences are lists, as they are few."""

    def __init__(self, decoder: Decoder, rows: int, rules: Rules) -> None:
        beams = rules.num_beams
        self._decoder, self._rules = decoder, rules
        self._going = np.arange(rows)
        self._running: Array = np.full((rows, beams, 1), rules.start, np.int64)
        self._scores: Array = np.full((rows, beams), _NEVER, np.float32)
        self._scores[:, 0] = 0  # or all beams of a row would be the same
        self._best = np.full((rows, beams), _NEVER, np.float32)
        self._ended = np.zeros((rows, beams), bool)
        self._kept: list[list[list[int]]] = [[[] for _ in range(beams)] for _ in range(rows)]
        self._results: list[list[list[int]]] = [[] for _ in range(rows)]

    def run(self) -> list[list[list[int]]]:
        for length in range(1, self._rules.max_length):
            scores, beams, tokens = self._candidates(length)
            hits = np.isin(tokens, self._rules.eos) | (length + 1 >= self._rules.max_length)
            self._finish(scores, beams, tokens, hits, length)
            parents = self._continue(scores, beams, tokens, hits)
            if not self._leave(self._over(hits, length + 1), parents):
                break
        return self._results

    def _candidates(self, length: int) -> tuple[Array, Array, Array]:
        """The best continuations of each row: accumulated scores, falling, from which beam, and by which token."""
        rules, count = self._rules, max(2, 1 + len(self._rules.eos)) * self._rules.num_beams
        if rules.forced_eos is not None and length == rules.max_length - 1:
            ids = np.broadcast_to(np.array(rules.forced_eos), (*self._scores.shape, len(rules.forced_eos)))
            # renormalised, several ends share it
            each = -np.log(np.float32(len(rules.forced_eos))) if rules.renormalize else np.float32(0)
            gains = np.full(ids.shape, each, np.float32)
        else:
            top = min(count, self._decoder.vocabulary)
            bias = _bias(rules, length, self._decoder.vocabulary)
            step = self._decoder.step(self._running[:, :, -1].reshape(-1), bias, top)
            norm = step.norm if rules.renormalize else step.norm_all
            gains = (step.logits - norm[:, None]).reshape(*self._scores.shape, top)
            ids = step.ids.reshape(gains.shape)
        width = ids.shape[2]
        scores = (gains + self._scores[:, :, None]).reshape(len(ids), -1)
        chosen = _highest(scores, min(count, scores.shape[1]))
        beams = chosen // width
        return np.take_along_axis(scores, chosen, 1), beams, np.take_along_axis(ids.reshape(len(ids), -1), chosen, 1)

    def _finish(self, scores: Array, beams: Array, tokens: Array, hits: Array, length: int) -> None:
        """Those among the first that end here are kept where they are better than what was kept before."""
        rules = self._rules
        just = hits & (np.arange(hits.shape[1]) < rules.num_beams)
        worth = scores / np.float32(length**rules.length_penalty)
        if rules.early_stopping is True:
            worth = worth + self._ended.all(axis=1, keepdims=True) * _NEVER
        worth = worth + ~just * _NEVER
        merged = np.concatenate([self._best, worth], axis=1)
        chosen = _highest(merged, rules.num_beams)
        self._best = np.take_along_axis(merged, chosen, 1)
        self._ended = np.take_along_axis(np.concatenate([self._ended, just], axis=1), chosen, 1)
        for row in np.nonzero((chosen >= rules.num_beams).any(axis=1))[0].tolist():
            kept = self._kept[row]
            self._kept[row] = [
                kept[place] if place < rules.num_beams else self._sequence(row, place - rules.num_beams, beams, tokens)
                for place in chosen[row].tolist()
            ]

    def _sequence(self, row: int, place: int, beams: Array, tokens: Array) -> list[int]:
        return [*self._running[row, beams[row, place]].tolist(), int(tokens[row, place])]

    def _continue(self, scores: Array, beams: Array, tokens: Array, hits: Array) -> Array:
        """The best of those that go on become the running ones; from which beams they are."""
        open_ = scores + hits * _NEVER
        chosen = _highest(open_, self._rules.num_beams)
        parents = np.take_along_axis(beams, chosen, 1)
        self._scores = np.take_along_axis(open_, chosen, 1)
        longer = np.take_along_axis(tokens, chosen, 1)[:, :, None]
        self._running = np.concatenate([np.take_along_axis(self._running, parents[:, :, None], 1), longer], axis=2)
        return parents

    def _over(self, hits: Array, length: int) -> Array:
        """Which rows are done: nothing can be better than what they have, or nothing can go on."""
        rules = self._rules
        never = rules.early_stopping == "never" and rules.length_penalty > 0
        longest = rules.max_length - 1 if never else length - 1
        hoped: Array = self._scores[:, 0] / np.float32(longest**rules.length_penalty)
        ended = np.asarray(self._ended.all(axis=1))
        over: Array = (ended & (hoped <= self._best.min(axis=1))) | (~ended & (hoped <= _NEVER)) | hits.all(axis=1)
        return over | ended if rules.early_stopping is True else over

    def _leave(self, over: Array, parents: Array) -> bool:
        """Rows that are done leave; whether any goes on."""
        for place in np.nonzero(over)[0].tolist():
            row = int(self._going[place])
            self._results[row] = self._kept[place][: self._rules.num_return_sequences]
        (open_,) = np.nonzero(~over)
        beams = (parents[open_] + open_[:, None] * self._rules.num_beams).reshape(-1)
        if len(open_) == len(over):
            self._decoder.keep(None, beams)
            return True
        if not len(open_):
            return False
        self._decoder.keep(open_, beams)
        self._kept = [self._kept[place] for place in open_.tolist()]
        for name in ("_going", "_running", "_scores", "_best", "_ended"):
            setattr(self, name, getattr(self, name)[open_])
        return True


def _bias(rules: Rules, length: int, vocabulary: int) -> Array:
    """Minus infinity for tokens that may not come at this length."""
    bias = np.zeros(vocabulary, np.float32)
    bias[[word for word in rules.bad if word not in rules.eos]] = -np.inf
    if length < rules.min_length:
        bias[list(rules.eos)] = -np.inf
    return bias


def _highest(scores: Array, count: int) -> Array:
    """The places of the highest of each row, falling; of equal ones the first."""
    order: Array = np.argsort(-scores, axis=1, kind="stable")
    return order[:, :count]
