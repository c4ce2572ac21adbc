"""Several runs of an ONNX model as one: inputs joined along axis 0, outputs taken apart again.

    call A   x (2, 64) ─┐                     ┌─ y (2, 8), in memory of A's session
    call B   x (1, 64) ─┴─ x (3, 64) ─► y (3, 8) ─┴─ y (1, 8), in memory of B's session

For models whose every input and output has the same symbolic first dimension. That says how many rows
there are, not that rows are independent of one another: a graph that subtracts the mean over its rows
must not be batched, and nothing here can know. A row's last bits may depend on its batch, because
kernels for other sizes add in another order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np

from sharedmodel.errors import Cancelled
from sharedmodel.server.machine.batches import Failed, split_and_retry
from sharedmodel.server.models.onnx import OnnxModel
from sharedmodel.server.models.onnx_binding import dtype_of
from sharedmodel.server.scheduling.batching import Measure, Request, each_alone, serving_all

_KINDS_MOST: Final = 1024
_PARAMETERS: Final = ("output_names", "input_feed", "run_options")
Asked = tuple[tuple[str, ...] | None, Mapping[str, Any]]


def batching_of(model: OnnxModel) -> OnnxBatching | None:
    """How to batch runs of a model; None where its graph does not allow it."""
    described = [*model.get_inputs(), *model.get_outputs()]
    firsts = {(arg["shape"] or [None])[0] for arg in described}
    tensors = all(dtype_of(arg["type"]) is not None for arg in described)
    one = len(firsts) == 1 and isinstance(next(iter(firsts)), str)
    return OnnxBatching(model) if model.get_inputs() and tensors and one else None


class OnnxBatching:
    """One model's; made by `batching_of`. Thread-safe, as the model is.

    ``honest`` turns False when outputs prove not to have as many rows as the inputs, whatever the graph
    says: from then on every call runs alone.
    """

    def __init__(self, model: OnnxModel) -> None:
        self.honest = True
        self._model = model
        self._measured: dict[Any, Measure] = {}  # what was found of feeds like it: nearly all are alike
        # Of each its dtype, its rank, and whether the graph leaves its axis 1 open.
        self._inputs = {
            arg["name"]: (dtype_of(arg["type"]), len(shape), any(not isinstance(dim, int) for dim in shape[1:2]))
            for arg in model.get_inputs()
            for shape in [arg["shape"]]
        }

    def measure(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Measure | None:
        """Equal keys: the same outputs asked for, the same shapes but for axis 0.

        The length is that of axis 1, the largest of all inputs where the graph leaves it open, else 1.
        """
        asked = _asked(args, kwargs) if method == "run" and self.honest else None
        if asked is None or len(asked[1]) != len(self._inputs):
            return None
        names, feed = asked
        if names is not None:  # of the caller's choice, and as long as he likes: nothing to be kept
            return self._measure(names, feed)
        arrays = [(each.dtype, each.shape) if isinstance(each, np.ndarray) else None for each in feed.values()]
        kind = *feed, *arrays
        found = self._measured.get(kind)
        if found is None and (found := self._measure(None, feed)) is not None:
            if len(self._measured) >= _KINDS_MOST:
                self._measured.clear()
            self._measured[kind] = found
        return found

    def _measure(self, names: tuple[str, ...] | None, feed: Mapping[str, Any]) -> Measure | None:
        rows, length, shapes = -1, 1, []
        for name, (dtype, rank, open_length) in self._inputs.items():
            array = feed.get(name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                return None
            shape = array.shape
            if len(shape) != rank or rows not in (-1, shape[0]):
                return None
            rows = shape[0]
            shapes.append(shape[1:])
            if open_length and shape[1] > length:
                length = shape[1]
        return Measure((names, tuple(shapes)), rows, length) if rows > 0 else None

    def run(self, requests: Sequence[Request]) -> list[Any]:
        """See `Batching.run`. Where the batch fails each call runs alone, so that only the wrong ones fail.

        Where it does not fit into memory its halves run, and theirs, so that most still run together.
        """
        if len(requests) > 1 and self.honest:
            try:
                found = split_and_retry(requests, self._some, between=self._model.shrink)
                return [each.error if isinstance(each, Failed) else each for each in found]
            except Exception:  # its causes come to light in the runs alone
                pass
        return each_alone(requests, self._one)

    def _some(self, requests: Sequence[Request]) -> list[Any]:
        return self._as_one(requests) if len(requests) > 1 else each_alone(requests, self._one)

    def _one(self, request: Request) -> Any:
        return self._model.run(*request.args, **request.kwargs)

    def _as_one(self, requests: Sequence[Request]) -> list[Any]:
        asked = [found for request in requests if (found := _asked(request.args, request.kwargs)) is not None]
        feeds = [feed for _, feed in asked]
        ends = list(accumulate([len(next(iter(feed.values()))) for feed in feeds]))
        joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in self._inputs}
        names = asked[0][0]
        with serving_all(requests):
            outputs = self._model.run(None if names is None else list(names), joined)
        if any(output.shape[:1] != (ends[-1],) for output in outputs):
            self.honest = False
            raise ValueError("outputs of other lengths than their inputs")
        results: list[Any] = []
        for request, start, end in zip(requests, [0, *ends], ends, strict=False):
            if request.cancelled:
                results.append(Cancelled("the call was cancelled while it ran"))
            else:
                results.append([request.own(output[start:end]) for output in outputs])
        return results


def _asked(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Asked | None:
    """The names and the inputs of a call of `run` without options; None if it is another one."""
    if len(args) == 2 and args[0] is None and type(args[1]) is dict and not kwargs:
        return None, args[1]  # as nearly all are
    given = dict(zip(_PARAMETERS, args, strict=False)) | dict(kwargs)
    names, feed = given.pop("output_names", ...), given.pop("input_feed", None)
    if len(args) > len(_PARAMETERS) or given.pop("run_options", None) is not None or given:
        return None
    if not isinstance(feed, Mapping):
        return None
    if names is None:
        return None, feed
    plain = isinstance(names, list | tuple) and len(names) > 0 and all(type(name) is str for name in names)
    return (tuple(names), feed) if plain else None
