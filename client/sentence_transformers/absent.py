"""What SentenceTransformer has and its stand-in can't do: each is there to say so by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sharedmodel.client.refusing import refused

_TRAINING: Final = "training needs the model itself"
_FILES: Final = "the model's files are the host's; save it with the library"
_INSIDE: Final = "its modules are in the host"
_PLACE: Final = "where and how the model runs is the host's choice"


class Absent:
    """Methods that refuse."""

    fit = refused("SentenceTransformer.fit", _TRAINING)
    old_fit = refused("SentenceTransformer.old_fit", _TRAINING)
    smart_batching_collate = refused("SentenceTransformer.smart_batching_collate", _TRAINING)
    train = refused("SentenceTransformer.train", _TRAINING)
    parameters = refused("SentenceTransformer.parameters", _INSIDE)
    named_parameters = refused("SentenceTransformer.named_parameters", _INSIDE)
    modules = refused("SentenceTransformer.modules", _INSIDE)
    named_children = refused("SentenceTransformer.named_children", _INSIDE)
    state_dict = refused("SentenceTransformer.state_dict", _INSIDE)
    forward = refused("SentenceTransformer.forward", _INSIDE)
    __call__ = refused("SentenceTransformer.__call__", _INSIDE)
    __getitem__ = refused("SentenceTransformer.__getitem__", _INSIDE)
    __iter__ = refused("SentenceTransformer.__iter__", _INSIDE)
    save = refused("SentenceTransformer.save", _FILES)
    save_pretrained = refused("SentenceTransformer.save_pretrained", _FILES)
    push_to_hub = refused("SentenceTransformer.push_to_hub", _FILES)
    save_to_hub = refused("SentenceTransformer.save_to_hub", _FILES)
    half = refused("SentenceTransformer.half", _PLACE)
    bfloat16 = refused("SentenceTransformer.bfloat16", _PLACE)
    cuda = refused("SentenceTransformer.cuda", _PLACE)
    compile = refused("SentenceTransformer.compile", _PLACE)


ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType(
    {
        name: _INSIDE
        for name in ("tokenizer", "processor", "transformers_model", "config", "_modules", "model_card_data")
    }
)
