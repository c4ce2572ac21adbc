"""A model of translation for tests: real, small, and trained by a script of ours; and what it is given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

from scripts.tiny_models import grammar, marian

NEEDED: Final = ("onnxruntime", "sentencepiece", "torch", "transformers")

# What it was never trained for: the likeliest tokens are close to one another.
ODD: Final = [
    "",
    "hello </s> world <pad>",
    "x" * 50,
    "the the the cat cat in in",
    "😀 \x00\x01\x7f 中文 \u200b",
    ">>zh<< the cat",
    "the  cat\n\nsees a dog <unk>",
    "zebra quark dogs the on",
    "cat " * 20,
]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch's threads wait by spinning: for what is so small more of them make it slower."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def folder() -> str:
    """A folder as `MarianMTModel.from_pretrained` takes it."""
    return marian.folder()


def sentences(count: int = 200) -> list[str]:
    """English sentences that it was not trained with."""
    return [pair.english for pair in grammar.held_out(count)]


def translations(count: int = 200) -> list[str]:
    """Their translations, as the grammar has them."""
    return [pair.chinese for pair in grammar.held_out(count)]


def cut(ids: Any, end: int) -> list[list[int]]:
    """Rows of token ids without the padding after the end."""
    rows = [[*map(int, row)] for row in ids]
    return [row[: row.index(end, 1) + 1] if end in row[1:] else row for row in rows]
