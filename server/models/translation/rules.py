"""What generation heeds: the settings of a model's folder, and those of a call over them. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from ..embedding.files import read_json

Early = bool | str  # a string is "never"

# Settings that change nothing, with the values for which that is so; None is one for each.
_NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = MappingProxyType(
    {
        "do_sample": (False,), "repetition_penalty": (1.0,), "encoder_repetition_penalty": (1.0,),
        "no_repeat_ngram_size": (0,), "encoder_no_repeat_ngram_size": (0,), "num_beam_groups": (1,),
        "diversity_penalty": (0.0,), "remove_invalid_values": (False,), "output_scores": (False,),
        "output_logits": (False,), "output_attentions": (False,), "output_hidden_states": (False,),
        "return_dict_in_generate": (False,), "token_healing": (False,), "low_memory": (False,), "guidance_scale": (1,),
        "use_mtp": (False,), "min_new_tokens": (0,), "forced_bos_token_id": (), "exponential_decay_length_penalty": (),
        "suppress_tokens": (), "begin_suppress_tokens": (), "sequence_bias": (), "stop_strings": (), "max_time": (),
        "watermarking_config": (), "penalty_alpha": (), "dola_layers": (), "constraints": (), "force_words_ids": (),
        "prompt_lookup_num_tokens": (), "generation_config": (), "logits_processor": (), "stopping_criteria": (),
        "prefix_allowed_tokens_fn": (), "assistant_model": (), "streamer": (), "custom_generate": (),
        "synced_gpus": (False,), "negative_prompt_ids": (), "cache_implementation": (), "decoder_input_ids": (),
        "decoder_attention_mask": (), "inputs_embeds": (), "encoder_outputs": (), "past_key_values": (),
    }
)  # fmt: skip
# Of sampling, of assistants, or of how the library computes: without effect on beams and greedy search.
_IGNORED: Final = frozenset(
    {
        "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff", "use_cache",
        "bos_token_id", "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule",
        "assistant_confidence_threshold", "assistant_early_exit", "assistant_lookbehind", "target_lookbehind",
        "assistant_ensemble_weight", "max_matching_ngram_size", "speculation_type", "compile_config",
        "disable_compile", "continuous_batching_config", "prefill_chunk_size", "cache_config", "max_cache_len",
        "transformers_version",
    }
)  # fmt: skip
_ABSENT: Final[Mapping[str, Any]] = MappingProxyType(
    {"bad": (), "forced_eos": None, "renormalize": False, "early_stopping": False, "new_tokens": None}
)
_DEFAULT_LENGTH: Final = 20
_MOST_BEAMS: Final = 64  # a caller's mistake must not take the host's memory


@dataclass(frozen=True)
class Rules:
    """How one call generates. Lengths count tokens, the first one (``start``) and the end included.

    ``max_length`` is what comes of ``told_length`` and ``new_tokens``, which wins where it is set, whoever set it.
    """

    start: int
    eos: tuple[int, ...]
    pad: int
    max_length: int
    min_length: int = 0
    num_beams: int = 1
    num_return_sequences: int = 1
    length_penalty: float = 1.0
    early_stopping: Early = False
    bad: tuple[int, ...] = ()
    forced_eos: tuple[int, ...] | None = None
    renormalize: bool = False
    told_length: int = field(default=_DEFAULT_LENGTH, compare=False)
    new_tokens: int | None = field(default=None, compare=False)

    @classmethod
    def of_folder(cls, folder: str) -> Rules:
        """Those of a folder of transformers. Raises NotImplementedError for a setting that is not carried,
        ValueError for one that is wrong."""
        config = read_json(folder, "config.json")
        told = read_json(folder, "generation_config.json") or config
        known = {name: value for name, value in told.items() if name in _OWN or name in _NEUTRAL}
        for name in ("eos_token_id", "pad_token_id", "decoder_start_token_id"):
            known.setdefault(name, config.get(name))
        if known.get("max_length") is None:
            known["max_length"] = min(_DEFAULT_LENGTH + 1, int(config.get("max_position_embeddings", 512)))
        blank = cls(start=-1, eos=(), pad=-1, max_length=_DEFAULT_LENGTH)
        found = blank.merged(known)
        if found.start < 0 or not found.eos:
            raise ValueError(f"{folder} does not say with which token a translation begins and ends")
        return found

    def merged(self, options: Mapping[str, Any]) -> Rules:
        """With the settings of a call over these.

        Raises ValueError for what generation does not know or can't be, NotImplementedError for what is not carried.
        """
        fields: dict[str, Any] = {}
        unknown = []
        for name, value in options.items():
            if name in _OWN:
                place, read = _OWN[name]
                if value is not None:
                    fields[place] = read(name, value)
                elif place in _ABSENT:  # None is a value, for these
                    fields[place] = _ABSENT[place]
            elif name in _NEUTRAL:
                if value is not None and value not in _NEUTRAL[name]:
                    raise NotImplementedError(f"generate({name}={value!r}) is not carried by this translator")
            elif name not in _IGNORED:
                unknown.append(name)
        if unknown:  # in transformers' words
            raise ValueError(
                f"The following `model_kwargs` are not used by the model: {unknown} (note: typos in the"
                " generate arguments will also show up in this list)"
            )
        found = dataclasses.replace(self, **fields)
        length = found.told_length if found.new_tokens is None else found.new_tokens + 1
        return dataclasses.replace(found, max_length=length)._checked()

    def _checked(self) -> Rules:
        if self.num_beams > _MOST_BEAMS:
            raise ValueError(f"`num_beams` is {_MOST_BEAMS} at most in this host, not {self.num_beams}")
        if self.max_length <= 1:
            raise ValueError(
                f"Input length of decoder_input_ids is 1, but `max_length` is set to {self.max_length}. This can lead"
                " to unexpected behavior. You should consider increasing `max_length` or, better yet, setting"
                " `max_new_tokens`."
            )
        if self.num_return_sequences > self.num_beams:
            if self.num_beams == 1:
                raise ValueError(
                    "Greedy methods (do_sample != True) without beam search do not support "
                    f"`num_return_sequences` different than 1 (got {self.num_return_sequences})."
                )
            raise ValueError(
                f"`num_return_sequences` ({self.num_return_sequences}) has to be smaller or equal to "
                f"`num_beams` ({self.num_beams})."
            )
        return self


def _early(name: str, value: Any) -> Early:
    if isinstance(value, bool):
        return value
    if value != "never":
        raise ValueError(f"`{name}` must be a boolean or 'never', but is {value}.")
    return "never"


def _words(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(word, list | tuple) for word in value):
        raise ValueError(f"`bad_words_ids` has to be a list of lists, but is {value}.")
    if any(len(word) != 1 for word in value):
        raise NotImplementedError("generate(bad_words_ids=...) with words of several tokens is not carried")
    return tuple(_whole("bad_words_ids", word[0]) for word in value)


def _ids(name: str, value: Any) -> tuple[int, ...]:
    return tuple(_whole(name, one) for one in (value if isinstance(value, list | tuple) else [value]))


def _count(name: str, value: Any) -> int:
    if _whole(name, value) < 1:
        raise ValueError(f"`{name}` must be greater than 0, but is {value}.")
    return int(value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"`{name}` is a whole number that is not negative, and not {value!r}")
    return value


# Of a setting: the field it fills, and how it is read.
_OWN: Final[Mapping[str, tuple[str, Callable[[str, Any], Any]]]] = MappingProxyType(
    {
        "max_length": ("told_length", _count),
        "max_new_tokens": ("new_tokens", _count),
        "min_length": ("min_length", _whole),
        "num_beams": ("num_beams", _count),
        "num_return_sequences": ("num_return_sequences", _count),
        "length_penalty": ("length_penalty", lambda _, value: float(value)),
        "early_stopping": ("early_stopping", _early),
        "bad_words_ids": ("bad", lambda _, value: _words(value)),
        "forced_eos_token_id": ("forced_eos", _ids),
        "renormalize_logits": ("renormalize", lambda _, value: bool(value)),
        "eos_token_id": ("eos", _ids),
        "pad_token_id": ("pad", _whole),
        "decoder_start_token_id": ("start", _whole),
    }
)
