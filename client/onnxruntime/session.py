"""InferenceSession: looks like onnxruntime's, and is an address, a name and a card."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from sharedmodel.client.again import addresses_of, asked
from sharedmodel.client.backing import Backing
from sharedmodel.client.model import Model
from sharedmodel.client.raising import as_the_library
from sharedmodel.client.refusing import refuse
from sharedmodel.errors import CannotCross, HostLost, UnknownObject
from sharedmodel.strings import packed, unpacked

from . import wanting
from .binding import IOBinding
from .capi.onnxruntime_pybind11_state import raised, twin_of
from .described import Described
from .options import RunOptions, SessionOptions
from .providers import chosen
from .values import OrtValue

_STATUS: Final = re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")
_CROSSING: Final = (np.ndarray, np.generic, str, bytes, int, float, list, tuple, dict, type(None))


class InferenceSession(Described):
    """A model in the host. Light; pickles by reference; for any number of threads and processes.

    Arguments, results and exceptions are those of `onnxruntime.InferenceSession`. Two that are made of the
    same file (or bytes) with the same options are the same model in the host.
    """

    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike[str],
        sess_options: SessionOptions | None = None,
        providers: Any = None,
        provider_options: Any = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(path_or_bytes, str | bytes | os.PathLike):
            raise TypeError(f"Unable to load from type '{type(path_or_bytes)}'")
        if sess_options is not None and not isinstance(sess_options, SessionOptions):
            raise TypeError(f"sess_options are SessionOptions of this module, not {type(sess_options)}")
        if int(kwargs.get("read_config_from_model", 0)):
            refuse("InferenceSession(read_config_from_model=1)", "give the options in sess_options")
        self._fallback = int(kwargs.get("enable_fallback", 1)) == 1
        self._source: str | bytes | None = (
            path_or_bytes if isinstance(path_or_bytes, bytes) else os.fsdecode(path_or_bytes)
        )
        self._options = sess_options
        self._disabled = kwargs.get("disabled_optimizers")
        self._load(providers, provider_options)

    def _load(self, providers: Any, provider_options: Any) -> None:
        named = chosen(providers, provider_options, fallback=self._fallback)
        options = wanting.carried(self._options, named, self._disabled)
        source = self._source
        if source is None:
            refuse("InferenceSession.set_providers after pickling", "the model's bytes did not come along")
        data = source if isinstance(source, bytes) else None
        wanted = wanting.of_file(source, options) if isinstance(source, str) else wanting.of_bytes(source, options)
        self._path: str = wanted.options.get("path", "")
        with as_the_library(self._twin):
            self._backing = Backing(wanted, data)
            card = self._backing.call(lambda model: model.card())
        self._describe(card)

    # -- running -----------------------------------------------------------------------------------

    def run(self, output_names: Any, input_feed: Any, run_options: RunOptions | None = None) -> list[Any]:
        """The outputs, as `onnxruntime.InferenceSession.run` gives them. Large ones lie in shared memory."""
        feed = self._fed(input_feed)
        with as_the_library(self._twin):
            return self._run(output_names, feed, run_options)

    def _run(self, names: Any, feed: dict[Any, Any], run_options: RunOptions | None) -> list[Any]:
        method = "run_packed" if self._strings or any(map(_holds_objects, feed.values())) else "run"
        if method == "run_packed":
            feed = {name: packed(value) for name, value in feed.items()}

        def run(model: Model, options: dict[str, Any] | None = None) -> Any:
            return getattr(model, method)(names, feed, options)

        try:
            results = self._with_options(run, run_options)
        except CannotCross:
            _explain(feed)
            raise
        return [unpacked(result) for result in results] if method == "run_packed" else list(results)

    def run_async(
        self, output_names: Any, input_feed: Any, callback: Callable[..., Any], user_data: Any, run_options: Any = None
    ) -> None:
        """Run on another thread, then call ``callback(results, user_data, error)``; the error is a text."""
        if not callable(callback):
            raise TypeError(f"run_async(): the callback is a callable, not {type(callback).__name__}")
        feed = self._fed(input_feed)
        if self._options is not None and self._options.intra_op_num_threads == 1:
            raise raised(
                "InvalidArgument",
                "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : intra op thread pool must have at least one thread "
                "for RunAsync",
            )

        def run() -> None:
            results: list[Any] = []
            error = ""
            try:
                with as_the_library(self._twin):
                    results = self._run(output_names, feed, run_options)
            except Exception as exc:
                error = _STATUS.sub("", str(exc), count=1)
            callback(results, user_data, error)

        threading.Thread(target=run, name="run_async", daemon=True).start()

    def run_with_ort_values(
        self, output_names: Any, input_dict_ort_values: dict[str, OrtValue], run_options: RunOptions | None = None
    ) -> list[OrtValue]:
        """As `run`, of OrtValues."""
        self._validate(input_dict_ort_values)
        feed = {name: value._value for name, value in input_dict_ort_values.items()}
        with as_the_library(self._twin):
            return [OrtValue(result) for result in self._run(output_names, feed, run_options)]

    def io_binding(self) -> IOBinding:
        """An object to bind inputs and outputs to, for `run_with_iobinding`."""
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: RunOptions | None = None) -> None:
        """Run on what is bound."""
        if iobinding._session is not self:
            raise ValueError("IOBinding must be used with the session that created it.")
        inputs = [(name, packed(value)) for name, value in iobinding._inputs.items()]
        outputs = iobinding._bound()

        def run(model: Model, options: dict[str, Any] | None = None) -> Any:
            return model.run_bound(inputs, outputs, options)

        with as_the_library(self._twin):
            results = self._with_options(run, run_options)
        iobinding._take([unpacked(result) for result in results])

    def _with_options(self, run: Callable[..., Any], options: RunOptions | None) -> Any:
        if options is None:
            return self._backing.call(run)
        if not isinstance(options, RunOptions):
            raise TypeError(f"run_options are RunOptions of this module, not {type(options).__name__}")
        with options.used(self._terminate) as carried:
            return self._backing.call(lambda model: run(model, carried))

    def _terminate(self, token: str) -> None:
        model = self._backing.model
        # Of several instances each is told: which of them runs it is not known here. Where the host is gone,
        # the run has ended already.
        for address in addresses_of(model._where):
            with contextlib.suppress(HostLost, UnknownObject):
                asked(address, model._name, "terminate", token)

    def _fed(self, feed: Any) -> dict[Any, Any]:
        self._validate(feed)
        return {name: _plain(value) for name, value in feed.items()}

    def _validate(self, feed: Any) -> None:
        names = list(feed.keys())
        missing = [name for name in self._required if name not in names]
        if missing:
            raise ValueError(f"Required inputs ({missing}) are missing from input feed ({names}).")

    def _twin(self, type_name: str, message: str) -> Exception | None:
        if isinstance(self._source, str):  # as the caller wrote it
            message = message.replace(self._path, self._source)
        return twin_of(type_name, message)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": self._source if isinstance(self._source, str) else None}

    def get_session_options(self) -> SessionOptions:
        """The options that it was made with."""
        return SessionOptions() if self._options is None else self._options

    def set_providers(self, providers: Any = None, provider_options: Any = None) -> None:
        """Use the model with other execution providers; in the host that is another model."""
        self._load(providers, provider_options)

    def disable_fallback(self) -> None:
        """Raise a mistake in the providers instead of falling back to the processor."""
        self._fallback = False

    def enable_fallback(self) -> None:
        """Fall back to the processor after a mistake in the providers."""
        self._fallback = True

    def empty(self, shape: Any, dtype: Any = float) -> Any:
        """An uninitialised array in shared memory: given as an input, it is not copied. Not onnxruntime's."""
        return self._backing.call(lambda model: model.empty(shape, dtype))

    def create_ortvalue_from_shape_and_type(
        self, shape: Any, element_type: Any, device_type: str, device_id: int = 0, vendor_id: int = -1
    ) -> OrtValue:
        """An uninitialised tensor in shared memory."""
        return OrtValue.ortvalue_from_shape_and_type(shape, element_type, device_type, device_id, vendor_id)


def _plain(value: Any) -> Any:
    if type(value) is np.ndarray:
        return value
    if isinstance(value, OrtValue):
        return value._value
    return np.asarray(value) if isinstance(value, np.ndarray) else value


def _holds_objects(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.hasobject


def _explain(feed: dict[Any, Any]) -> None:
    """Raise what onnxruntime says of an input that is nothing of its kind."""
    for name, value in feed.items():
        if isinstance(value, _CROSSING):
            continue
        if hasattr(type(value), "__iter__"):
            raise RuntimeError(f"Input must be a list of dictionaries or a single numpy array for input '{name}'.")
        raise RuntimeError(f"Unable to handle object of type {type(value)}")
