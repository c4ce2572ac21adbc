"""Translation by Marian's models (OPUS-MT and its kin), for the stand-in of transformers.

Tokenising, the graphs and the choice of the likeliest tokens are native code that lets go of the interpreter's
lock (see `translation`); they run here in the host, on the thread of the call, so other models in the host go on.
What is left to Python are arrays of a few numbers for each step and beam.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from sharedmodel.errors import BadArgument

from ..machine.seat import Seat
from . import hub
from .row_model import RowModel
from .translation.batching import TranslatorBatching
from .translation.engines import Ct2Engine, Engine, OnnxEngine, Row, TorchEngine, padded
from .translation.exports import exported
from .translation.inputs import config_of, texts_of, unpadded
from .translation.rules import Rules
from .translation.sentences import joined, pieces
from .translation.tokens import Tokens
from .versions import versions

Options = Mapping[str, Any]
Found = list[list[list[int]]]

_PROBE: Final = ("A",)
_ROOM: Final = 32


class Work(NamedTuple):
    """A call: its rows, and what its result is when there is one for each."""

    rows: list[Row]
    rules: Rules
    finish: Callable[[Found], Any]


class TranslatorModel(RowModel[Engine]):
    """One loaded model of translation. Safe to call from many threads at once.

    path        a folder of transformers with a Marian model
    name        its name on the hub, as its users call it; it is looked for in the hub's cache, and downloaded
                where the host may, unless ``path`` says where it lies
    revision    of ``name``: a branch, a tag or a commit
    cache_folder  where downloads are kept, if not in the hub's own place
    local_files_only   download nothing
    engine      "onnx": onnxruntime, the graphs being made from the weights (once, in a process of its own);
                "ctranslate2"; "torch": PyTorch, the reference
    int8        whether weights have 8 bits: smaller and faster, and now and then another word; not with "torch"
    threads     processors that one run may use; None takes every one that this process may
    tokens_per_run   most tokens in one run, padding included, those of all beams counted
    providers   onnxruntime's execution providers, in order of preference
    device      "cpu", or a GPU that the engine can use, such as "cuda:0", in the place of `providers`: the server
                says which, by the model's key `device`
    device_memory   most bytes of it that the engine may take; without: what the server may use of it
    """

    compared = staticmethod(hub.compared)
    on_hub = staticmethod(hub.wanted)

    def __init__(
        self,
        path: str | None = None,
        *,
        name: str | None = None,
        revision: str | None = None,
        cache_folder: str | None = None,
        local_files_only: bool = False,
        engine: Literal["onnx", "ctranslate2", "torch"] = "onnx",
        int8: bool = False,
        threads: int | None = None,
        tokens_per_run: int = 8192,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        device: str = "cpu",
        device_memory: int | None = None,
    ) -> None:
        super().__init__(tokens_per_run)
        if engine == "torch" and int8:
            raise BadArgument('int8 is for the engines "onnx" and "ctranslate2"')
        folder = hub.folder_of(path, name, revision, cache_folder, local_files_only)
        config = config_of(folder)
        self._tokens = Tokens(folder)
        self._rules = Rules.of_folder(folder)
        self.longest = int(config.get("max_position_embeddings") or 512)
        seat = Seat(device, device_memory)
        if engine == "torch":
            self._engine = TorchEngine(folder, threads=threads, seat=seat)
        else:
            made = exported(folder, f"{engine}-int8" if int8 else engine)
            self._engine = (
                Ct2Engine(made, self._tokens, positions=self.longest, int8=int8, threads=threads, seat=seat)
                if engine == "ctranslate2"
                else OnnxEngine(made, positions=self.longest, threads=threads, providers=providers, seat=seat)
            )
        self._card = {
            "engine": engine, "vocabulary": int(config["vocab_size"]), "longest": self.longest,
            "max_length": self._tokens.max_length, "codes": self._tokens.codes, "eos": self._tokens.eos,
            "pad": self._tokens.pad, "unknown": self._tokens.unknown, "special": self._tokens.special,
            "start": self._rules.start,
        }  # fmt: skip

    def translate(self, texts: Sequence[str], options: Options | None = None) -> list[Any]:
        """Of each text its translation; with ``num_return_sequences`` above 1 a list of them, the best first. One
        text alone counts as one of one. A text that is longer than the model takes is translated sentence by
        sentence.

        ``options`` are those of `generate` in transformers. Raises TypeError for what is no text, ValueError for
        an option that there is not, NotImplementedError for one that is not carried.
        """
        found: list[Any] = self._done(self.work("translate", texts, options))
        return found

    def generate(
        self, input_ids: Sequence[Row], options: Options | None = None, masks: Sequence[Row] | None = None
    ) -> Any:
        """Token ids (rows * num_return_sequences, longest) of int64, padded, of rows of token ids.

        ``masks``: 0 where a row is padded, else 1. Raises IndexError for a token that there is not, or for more
        of them than the model has positions, and what `translate` raises.
        """
        return self._done(self.work("generate", input_ids, options, masks))

    def tokenize(self, texts: Sequence[str], target: bool = False) -> list[list[int]]:
        """The token ids of each text, with the end; ``target``: texts of the language that it translates to."""
        return [self._tokens.row(text, target=target) for text in texts_of(texts)]

    def detokenize(self, rows: Sequence[Row], skip_special: bool = False) -> list[str]:
        """The texts of rows of token ids; ``skip_special``: without the end, padding and unknown tokens."""
        return [self._tokens.text(row, skip_special=skip_special) for row in rows]

    def card(self) -> dict[str, Any]:
        """The engine, how many tokens there are and how long a text may be, special tokens, codes of languages."""
        return dict(self._card)

    @staticmethod
    def about() -> dict[str, Any]:
        """Versions of the libraries that are installed in this host."""
        return {"versions": versions("ctranslate2", "onnxruntime", "sentencepiece", "transformers")}

    def batching(self) -> TranslatorBatching:
        """How calls of `translate` and `generate` run together."""
        return TranslatorBatching(self)

    def canary(self) -> dict[str, Any]:
        """A first call to make."""
        return {"method": "translate", "args": ([*_PROBE], {"max_new_tokens": 7})}

    # -- steps -----------------------------------------------------------------------------------------

    def rules(self, options: Options | None) -> Rules:
        """What a call with these options heeds. Raises ValueError or NotImplementedError."""
        return self._rules.merged(options or {})

    def work(self, method: str, rows: Any, options: Options | None = None, masks: Any = None) -> Work:
        """What a call has to do. Raises what `translate` and `generate` do."""
        rules = self.rules(options)
        if method == "generate":
            given: list[Row] = [list(map(int, row)) for row in rows]
            if masks is not None:
                given = [unpadded(row, mask) for row, mask in zip(given, masks, strict=True)]
            self._check(given)
            return Work(given, rules, lambda found: padded([ids for each in found for ids in each], rules.pad)[0])
        parts = [pieces(text, self._length, self.longest) for text in texts_of(rows)]
        tokens: list[Row] = [self._tokens.row(part) for each in parts for part in each]
        return Work(tokens, rules, lambda found: self._texts_of(found, [len(each) for each in parts], rules))

    def generated(self, rows: Sequence[Row], rules: Rules) -> Found:
        """Token ids for rows, whosever they are, in their order."""
        found: Found = [[] for _ in rows]
        # What comes of a row is as long as it is, as a rule; of short ones it may be longer.
        lengths = [len(row) + _ROOM for row in rows]
        for number, one in self._each(
            rows, lengths, lambda part: self._opened().generate(part, rules), rules.num_beams
        ):
            found[number] = one
        return found

    def _done(self, work: Work) -> Any:
        return work.finish(self.generated(work.rows, work.rules))

    def _texts_of(self, found: Found, counts: Sequence[int], rules: Rules) -> list[Any]:
        texts = iter([[self._tokens.text(ids) for ids in each] for each in found])
        together = [[next(texts) for _ in range(count)] for count in counts]
        every = [
            [joined([part[place] for part in parts]) for place in range(rules.num_return_sequences)]
            for parts in together
        ]
        return every if rules.num_return_sequences > 1 else [best for (best,) in every]

    def _length(self, text: str) -> int:
        return len(self._tokens.row(text))

    def _check(self, rows: Sequence[Row]) -> None:
        count = self._card["vocabulary"]
        if any(not 0 <= one < count for row in rows for one in row) or any(len(row) > self.longest for row in rows):
            raise IndexError("index out of range in self")  # PyTorch's words
        if not all(rows):
            raise ValueError("a row of token ids is empty: it has at least the end")
