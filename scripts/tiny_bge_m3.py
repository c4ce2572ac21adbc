"""Makes a tiny model in the layout of BGE-M3, with random weights: for tests and examples, good for nothing else.

    python -m scripts.tiny_bge_m3 --to out/tiny-bge-m3

It is an XLM-RoBERTa with all of the real one's files: weights, the linear layers of its sparse and ColBERT outputs,
a sentencepiece vocabulary made of the text below, and the fast tokenizer of it. Texts may have 8,192 tokens, as
there. The same arguments give the same model.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

from .pages import text

POSITIONS = 8194
PIECES = 400
_PAGES, _LINES = 40, 12


def make(folder: Path, *, hidden: int = 32, layers: int = 2, heads: int = 8, seed: int = 0) -> Path:
    """Write the model into a folder, which is made; the folder."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaModel

    folder.mkdir(parents=True, exist_ok=True)
    size = _write_tokenizer(folder)
    torch.manual_seed(seed)
    config = XLMRobertaConfig(
        vocab_size=size, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * hidden, max_position_embeddings=POSITIONS, type_vocab_size=1, pad_token_id=1,
        bos_token_id=0, eos_token_id=2, initializer_range=0.3,
    )  # fmt: skip
    XLMRobertaModel(config).eval().save_pretrained(folder)
    for name, outputs in (("colbert_linear", hidden), ("sparse_linear", 1)):
        torch.save(torch.nn.Linear(hidden, outputs).state_dict(), folder / f"{name}.pt")
    return folder


def _write_tokenizer(folder: Path) -> int:
    """The number of its tokens."""
    import sentencepiece
    from transformers import XLMRobertaTokenizer

    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_sentences()), model_writer=trained, vocab_size=PIECES, model_type="unigram",
        hard_vocab_limit=False, character_coverage=1.0, minloglevel=2, num_threads=1,
    )  # fmt: skip
    path = folder / "sentencepiece.bpe.model"
    path.write_bytes(trained.getvalue())
    tokenizer: Any = XLMRobertaTokenizer.from_pretrained(folder, model_max_length=POSITIONS - 2)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def _sentences() -> list[str]:
    return [line for number in range(_PAGES) for line in text(number, lines=_LINES)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--to", type=Path, default=Path("out/tiny-bge-m3"), metavar="FOLDER")
    parser.add_argument("--hidden", type=int, default=32, help="size of its vectors")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=8)
    given = parser.parse_args(arguments)
    print(make(given.to, hidden=given.hidden, layers=given.layers, heads=given.heads))


if __name__ == "__main__":
    main()
