"""What the files of a model say: which graph, how long its texts may be, how its tokens are pooled.

    a folder of sentence-transformers   modules.json: Transformer, Pooling, perhaps Normalize
    a folder of transformers            the same with mean pooling, as sentence-transformers has it
    a folder for fastembed              a graph and a tokenizer; pooling is told, or known by the model's name

Files are read here, not yet the graph or the weights.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Final

from .files import first_there, read_json, read_list
from .pooling import MODES
from .tokens import MOST, told_length

_LEGACY: Final = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_CONFIGS: Final = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_GRAPHS: Final = ("onnx/model.onnx", "model.onnx")


@dataclass(frozen=True)
class Recipe:
    """How one model makes vectors.

    folder      where configuration and tokenizer are, and the weights if ``graph`` is None
    graph       an ONNX file; None: it is made from the weights
    output      the graph's output that counts: a name or a number
    pooling     modes, whose results are put side by side; ("none",): the graph does it
    max_length  tokens; longer texts are cut
    positions   tokens that the model has positions for; None: not known
    typed       whether the second of a pair of texts has token types of its own
    told        what the folder says that only callers heed: prompts, similarity ...
    """

    folder: str
    graph: str | None
    output: str | int = 0
    pooling: tuple[str, ...] = ("mean",)
    normalize: bool = False
    include_prompt: bool = True
    max_length: int = MOST
    positions: int | None = None
    lowercase: bool = False
    typed: bool = True
    told: dict[str, Any] = field(default_factory=dict)


def of_folder(folder: str) -> Recipe:
    """The recipe of a folder of sentence-transformers or of transformers.

    Raises NotImplementedError for a part that is not carried, ValueError for a folder that holds no model.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"no such folder: {folder}")
    modules = read_list(folder, "modules.json")
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    _check(kinds, folder)
    inner = os.path.join(folder, modules[0].get("path", "")) if modules else folder
    if not read_json(inner, "config.json").get("model_type"):
        raise ValueError(f"Unrecognized model in {folder}. Should have a `model_type` key in its config.json.")
    pooling = read_json(os.path.join(folder, modules[1]["path"]), "config.json") if len(modules) > 1 else {}
    limits = _limits(inner)
    return Recipe(
        folder=inner,
        graph=first_there(inner, *_GRAPHS),
        pooling=_modes(pooling),
        normalize="Normalize" in kinds,
        include_prompt=bool(pooling.get("include_prompt", True)),
        told=_told(read_json(folder, "config_sentence_transformers.json")),
        **limits,
    )


def of_graph(folder: str, graph: str, *, pooling: str, normalize: bool, output: str | int | None) -> Recipe:
    """The recipe of a folder for fastembed. Raises ValueError where its tokenizer has no largest length."""
    length = told_length(folder)
    if length is None and os.path.exists(os.path.join(folder, "tokenizer_config.json")):
        raise ValueError(
            f"Could not determine the maximum context length for {folder}. Set a positive "
            "`model_max_length` or `max_length` in tokenizer_config.json."
        )
    return Recipe(
        folder=folder,
        graph=os.path.join(folder, graph),
        output=0 if output is None else output,
        pooling=(pooling,),
        normalize=normalize,
        max_length=length or MOST,
        typed=False,  # fastembed gives its graphs zeros
    )


def _check(kinds: list[str], folder: str) -> None:
    wrong = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    if wrong:
        raise NotImplementedError(
            f"the module {wrong[0]} of the model in {folder} is not carried; Transformer, Pooling and Normalize are"
        )
    if kinds and kinds[:2] != ["Transformer", "Pooling"]:
        raise NotImplementedError(f"the model in {folder} is {' + '.join(kinds)}; carried is Transformer + Pooling")


def _modes(config: dict[str, Any]) -> tuple[str, ...]:
    mode = config.get("pooling_mode")
    if mode is None:
        modes = tuple(name for key, name in _LEGACY.items() if config.get(key)) or ("mean",)
    else:
        modes = (mode,) if isinstance(mode, str) else tuple(mode)
    if unknown := [mode for mode in modes if mode not in MODES]:
        raise ValueError(f"Invalid pooling mode: {unknown[0]!r}. Valid pooling modes are: {tuple(MODES)}.")
    return modes


def _limits(folder: str) -> dict[str, Any]:
    own = next((found for name in _CONFIGS if (found := read_json(folder, name))), {})
    config = read_json(folder, "config.json")
    positions = config.get("max_position_embeddings")
    if type(positions) is not int or positions < 1:
        positions = None
    length = own.get("max_seq_length")
    if length is None:
        told = [value for value in (told_length(folder), positions) if value is not None]
        length = min(told, default=MOST)
    return {
        "max_length": int(length),
        "positions": positions_of(config),
        "lowercase": bool(own.get("do_lower_case")),
    }


def positions_of(config: dict[str, Any]) -> int | None:
    """How many tokens a model of transformers has positions for; None: it does not say."""
    positions = config.get("max_position_embeddings")
    if type(positions) is not int or positions < 1:
        return None
    # RoBERTa and its kin count positions from behind the padding token's number.
    before = int(config.get("pad_token_id", 1)) + 1 if "roberta" in str(config.get("model_type")) else 0
    return positions - before


def _told(config: dict[str, Any]) -> dict[str, Any]:
    keys = ("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim")
    return {key: config[key] for key in keys if config.get(key) is not None}
