"""MarianMTModel: looks like the library's, and is an address, a name and the settings that were made on it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from sharedmodel.client.backing import Backing
from sharedmodel.client.front import Placed
from sharedmodel.client.refusing import refuse, refused

from .encoding import listed
from .pretrained import Pretrained
from .wanting import check_device

_MOST: Final = 32  # rows in one call, which nobody else's come in between
_PLAIN: Final = (str, int, float, bool, type(None))
_INSIDE: Final = "the model is in the host"


class GenerationConfig:
    """Settings of `generate`. Those that are set belong to the object and go with its calls; others are the model's."""

    def __init__(self, **settings: Any) -> None:
        self.__dict__["settings"] = settings

    def __setattr__(self, name: str, value: Any) -> None:
        self.settings[name] = value

    def __getattr__(self, name: str) -> Any:
        found = self.__dict__.get("settings", {})
        if name not in found:
            raise AttributeError(f"GenerationConfig.{name} was not set here: the model's own value is in the host")
        return found[name]

    def update(self, **settings: Any) -> dict[str, Any]:
        """Set several at once."""
        self.settings.update(settings)
        return {}

    def to_dict(self) -> dict[str, Any]:
        """What was set."""
        return dict(self.settings)


class MarianMTModel(Placed, Pretrained):
    """A model of translation in the host. Made by `from_pretrained`; light, and it pickles by reference."""

    main_input_name: Final = "input_ids"

    forward = refused("MarianMTModel.forward", _INSIDE)
    __call__ = refused("MarianMTModel.__call__", _INSIDE)
    train = refused("MarianMTModel.train", "training needs the model itself")
    parameters = refused("MarianMTModel.parameters", _INSIDE)
    state_dict = refused("MarianMTModel.state_dict", _INSIDE)
    save_pretrained = refused("MarianMTModel.save_pretrained", "the model's files are the host's")
    half = refused("MarianMTModel.half", "in which precision it runs is the host's choice")

    def __init__(self, model: Backing) -> None:
        super().__init__(model)
        card: dict[str, Any] = self._call("card")
        self.generation_config = GenerationConfig()
        self.config = SimpleNamespace(
            model_type="marian", is_encoder_decoder=True, vocab_size=card["vocabulary"], eos_token_id=card["eos"],
            pad_token_id=card["pad"], decoder_start_token_id=card["start"], max_position_embeddings=card["longest"],
            _name_or_path=str(model.wanted.options.get("path") or model.wanted.options.get("name")),
        )  # fmt: skip

    def generate(self, inputs: Any = None, *, input_ids: Any = None, attention_mask: Any = None, **options: Any) -> Any:
        """Token ids (rows * num_return_sequences, longest), padded: a tensor for a tensor, else an array.

        Options as the library's `generate`; those that are not carried raise NotImplementedError.
        """
        given = inputs if input_ids is None else input_ids
        if given is None:
            raise ValueError("`bos_token_id` has to be defined when no `input_ids` are provided.")
        rows, masks = listed(given), listed(attention_mask)
        if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
            raise ValueError("input_ids has two dimensions: rows, and tokens of each")
        if not rows:
            raise RuntimeError("input_ids has no row")
        settings = {**self.generation_config.settings, **_settings(options)}
        found = [
            self._call("generate", rows[start : start + _MOST], plain(settings), masks and masks[start : start + _MOST])
            for start in range(0, len(rows), _MOST)
        ]
        return _like(given, _beside(found, self.config.pad_token_id))

    def to(self, device: Any = None, **_: Any) -> MarianMTModel:
        """Nothing to do for "cpu"; raises NotImplementedError for others."""
        check_device("MarianMTModel.to", device)
        return self


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """Those of a GenerationConfig, ours or the library's, under those that are given one by one."""
    config = options.pop("generation_config", None)
    if config is None:
        return options
    told = config.settings if isinstance(config, GenerationConfig) else config.to_diff_dict()
    return {**told, **options}


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """As they cross. Raises NotImplementedError for functions and objects."""
    found = {name: listed(value) for name, value in settings.items()}
    for name, value in found.items():
        if not isinstance(value, (*_PLAIN, list)):
            refuse(f"generate({name}=...)", "only plain values go to the host")
    return found


def _beside(found: list[Any], pad: int) -> Any:
    width = max(each.shape[1] for each in found)
    wide = [np.pad(each, ((0, 0), (0, width - each.shape[1])), constant_values=pad) for each in found]
    return wide[0] if len(wide) == 1 else np.concatenate(wide)


def _like(given: Any, ids: Any) -> Any:
    if type(given).__module__.partition(".")[0] != "torch":
        return ids
    import torch

    return torch.from_numpy(np.array(ids))
