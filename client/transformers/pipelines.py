"""`pipeline()`: a task, and the model in the host that does it."""

from __future__ import annotations

from typing import Any, Final

from sharedmodel.client.backing import Backing
from sharedmodel.client.raising import as_the_library
from sharedmodel.client.refusing import refuse

from .generic import Pipeline
from .marian import MarianMTModel
from .tokenizer import MarianTokenizer
from .translating import TranslationPipeline
from .wanting import check_rest, twin_of, wanted

_TRANSLATION: Final = "translation"
_OTHERS: Final = (
    "feature-extraction", "image-classification", "question-answering", "text-classification", "token-classification",
)  # fmt: skip
_ALIASES: Final = {"sentiment-analysis": "text-classification", "ner": "token-classification"}
# Of making the object; all else is the pipeline's own.
_MAKING: Final[tuple[str, ...]] = (
    "config", "feature_extractor", "image_processor", "video_processor", "processor", "use_fast", "token", "device",
    "device_map", "dtype", "torch_dtype", "trust_remote_code", "model_kwargs", "pipeline_class", "framework",
    "use_auth_token", "code_revision",
)  # fmt: skip


def pipeline(
    task: str | None = None,
    model: Any = None,
    *,
    tokenizer: Any = None,
    revision: str | None = None,
    local_files_only: bool = False,
    cache_dir: Any = None,
    **options: Any,
) -> Any:
    """An object to call with texts or pictures. Two with the same model share one in the host.

    Arguments as `transformers.pipeline`; those that would change the model itself, or where it runs, raise
    NotImplementedError. Raises KeyError for a task that there is not, OSError where there is no such model.
    """
    if task is None:
        refuse("pipeline() without a task", f"name one of: {', '.join(tasks())}")
    if model is None:
        refuse("pipeline() without a model", "name one, by a folder or by its name on the hub")
    making = {name: options.pop(name) for name in _MAKING if name in options}
    check_rest("pipeline", making)
    place = {"revision": revision, "local_files_only": local_files_only, "cache_dir": cache_dir}
    task = _ALIASES.get(task, task)
    if task == _TRANSLATION or task.startswith(f"{_TRANSLATION}_"):
        return _translation(task, model, tokenizer, place, options)
    if task not in _OTHERS:
        raise KeyError(f"Unknown task {task}, available tasks are {tasks()}")
    if tokenizer is not None and tokenizer != model:
        refuse("pipeline(tokenizer=...) of another model", "the tokenizer is the model's own, in the host")
    with as_the_library(twin_of):
        return Pipeline(task, Backing(wanted("pipeline", model, task=task, **place)), options)


def tasks() -> list[str]:
    """What there are pipelines for."""
    return [*_OTHERS, _TRANSLATION, "translation_XX_to_YY"]


def _translation(task: str, model: Any, tokenizer: Any, place: dict[str, Any], options: dict[str, Any]) -> Any:
    if isinstance(model, MarianMTModel):
        backing = model._backing
    else:
        with as_the_library(twin_of):
            backing = Backing(wanted("translator", model, **place))
    if isinstance(tokenizer, MarianTokenizer):
        tokenizer = None if tokenizer._backing.wanted == backing.wanted else tokenizer
    if tokenizer is not None and tokenizer != model:
        refuse("pipeline(tokenizer=...) of another model", "the tokenizer is the model's own, in the host")
    made = TranslationPipeline(task, backing, options)
    if isinstance(model, MarianMTModel):
        made.model = model
    return made
