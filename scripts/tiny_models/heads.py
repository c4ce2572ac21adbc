"""Models with weights drawn at random, one for each task of the pipelines: they know nothing, and always the same.

python -m scripts.tiny_models.heads FOLDER    makes them: a folder for each task, as `transformers.pipeline` takes it
folder("text-classification")                 the same, kept in the cache between runs
"""

from __future__ import annotations

import os
from typing import Any, Final

from .cache import kept
from .grammar import training

TASKS: Final = (
    "text-classification", "token-classification", "question-answering", "feature-extraction", "image-classification",
)  # fmt: skip
_SIZE: Final = 32
_LABELS: Final = {
    "text-classification": ("bad", "good", "neither"),
    "token-classification": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
    "image-classification": ("cat", "dog", "bird", "car", "table", "book"),
}


def folder(task: str) -> str:
    """Where a task's model is, made now if it is not there."""
    return kept(task)


def make(to: str) -> None:
    """Make all of them in a folder."""
    import torch

    tokenizer = _tokenizer()
    for number, task in enumerate(TASKS):
        torch.manual_seed(number)
        place = os.path.join(to, task)
        labels = dict(enumerate(_LABELS.get(task, ("LABEL_0", "LABEL_1"))))
        named = {"id2label": labels, "label2id": {label: place for place, label in labels.items()}}
        if task == "image-classification":
            _of_pictures(place, named)
        else:
            _of_texts(task, place, named, tokenizer)


def _of_texts(task: str, to: str, named: dict[str, Any], tokenizer: Any) -> None:
    import transformers

    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=_SIZE, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=2 * _SIZE, max_position_embeddings=128, initializer_range=0.5, **named,
    )  # fmt: skip
    classes = {
        "text-classification": transformers.BertForSequenceClassification,
        "token-classification": transformers.BertForTokenClassification,
        "question-answering": transformers.BertForQuestionAnswering,
        "feature-extraction": transformers.BertModel,
    }
    classes[task](config).eval().save_pretrained(to)
    tokenizer.save_pretrained(to)


def _of_pictures(to: str, named: dict[str, Any]) -> None:
    import transformers

    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=_SIZE, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=2 * _SIZE, initializer_range=0.5, **named,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).eval().save_pretrained(to)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(to)


def _tokenizer() -> Any:
    """Words of the small grammar, and their parts."""
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import BertProcessing
    from transformers import PreTrainedTokenizerFast

    trained = BertWordPieceTokenizer()
    trained.train_from_iterator([pair.english for pair in training(500)], vocab_size=200, show_progress=False)
    ends = [(token, trained.token_to_id(token)) for token in ("[SEP]", "[CLS]")]
    trained._tokenizer.post_processor = BertProcessing(*ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, model_max_length=128, unk_token="[UNK]", pad_token="[PAD]",
        cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip
