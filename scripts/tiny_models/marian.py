"""A real MarianMT of some 200,000 weights, trained in ten seconds on the sentences of `grammar`.

    folder()    a folder as `MarianMTModel.from_pretrained` takes it, kept in the cache between runs
    make(to)    trains it

It translates sentences of its grammar that it has never seen, and nothing else. One thread and fixed seeds: the
same machine makes the same weights.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from typing import Any, Final

from . import grammar
from .cache import kept

_SENTENCES: Final = 3000
_PIECES: Final = {"source": (150, 12), "target": (70, 2)}  # how many, and the longest of them in characters
_SIZE: Final = 64
_STEPS: Final = 250
_ROWS: Final = 32
_RATE: Final = 5e-3
_POSITIONS: Final = 128
_EOS: Final = 0
_IGNORED: Final = -100  # as a label


def folder() -> str:
    """Where the model is, made now if it is not there."""
    return kept("marian")


def make(to: str) -> None:
    """Train it and fill a new folder."""
    import torch
    from transformers import MarianMTModel, MarianTokenizer

    os.mkdir(to)
    torch.manual_seed(1)
    torch.set_num_threads(1)
    pairs = grammar.training(_SENTENCES)
    vocabulary = _vocabulary(pairs, to)
    tokenizer = MarianTokenizer(*(os.path.join(to, name) for name in ("source.spm", "target.spm", "vocab.json")))
    model = MarianMTModel(_config(len(vocabulary)))
    english = [tokenizer(pair.english)["input_ids"] for pair in pairs]
    chinese = [tokenizer(text_target=pair.chinese)["input_ids"] for pair in pairs]
    _train(model, english, chinese)
    with torch.no_grad():
        model.get_input_embeddings().weight[model.config.pad_token_id] = 0
    _generation(model)
    model.save_pretrained(to)
    tokenizer.save_pretrained(to)


def _vocabulary(pairs: Sequence[grammar.Pair], to: str) -> dict[str, int]:
    """Pieces of both languages with one numbering, as Marian's models have it: the end first, padding last."""
    import sentencepiece

    numbers = {"</s>": _EOS, "<unk>": 1}
    for name, texts in (("source", [pair.english for pair in pairs]), ("target", [pair.chinese for pair in pairs])):
        stem = os.path.join(to, name)
        count, longest = _PIECES[name]
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_prefix=stem, vocab_size=count, max_sentencepiece_length=longest,
            # so few pieces of English are whole words this way only, and sentences short
            model_type="bpe" if name == "source" else "unigram", character_coverage=1.0, hard_vocab_limit=False,
            num_threads=1, bos_id=-1, minloglevel=2,
        )  # fmt: skip
        os.rename(f"{stem}.model", f"{stem}.spm")
        os.unlink(f"{stem}.vocab")
        pieces = sentencepiece.SentencePieceProcessor(model_file=f"{stem}.spm")
        for number in range(pieces.get_piece_size()):
            numbers.setdefault(pieces.id_to_piece(number), len(numbers))
    numbers["<pad>"] = len(numbers)
    with open(os.path.join(to, "vocab.json"), "w", encoding="utf-8") as file:
        json.dump(numbers, file, ensure_ascii=False, indent=1)
    return numbers


def _config(size: int) -> Any:
    from transformers import MarianConfig

    pad = size - 1
    return MarianConfig(
        vocab_size=size, d_model=_SIZE, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=2 * _SIZE, decoder_ffn_dim=2 * _SIZE,
        max_position_embeddings=_POSITIONS, pad_token_id=pad, eos_token_id=_EOS, decoder_start_token_id=pad,
        forced_eos_token_id=_EOS, dropout=0.0, scale_embedding=True, activation_function="swish",
        init_std=_SIZE**-0.5,
    )  # fmt: skip


def _train(model: Any, english: list[list[int]], chinese: list[list[int]]) -> None:
    import torch

    pad = model.config.pad_token_id
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_STEPS, pct_start=0.15)
    chance = random.Random(1)
    model.train()
    for _ in range(_STEPS):
        chosen = chance.sample(range(len(english)), _ROWS)
        ids = _padded([english[number] for number in chosen], pad)
        labels = _padded([chinese[number] for number in chosen], _IGNORED)
        loss = model(input_ids=ids, attention_mask=(ids != pad).long(), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


def _padded(rows: list[list[int]], value: int) -> Any:
    import torch

    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


def _generation(model: Any) -> None:
    """Settings as the models of OPUS-MT have them."""
    pad = model.config.pad_token_id
    model.generation_config.update(
        bad_words_ids=[[pad]], bos_token_id=_EOS, decoder_start_token_id=pad, eos_token_id=_EOS,
        forced_eos_token_id=_EOS, max_length=_POSITIONS, num_beams=4, pad_token_id=pad, renormalize_logits=True,
    )  # fmt: skip
