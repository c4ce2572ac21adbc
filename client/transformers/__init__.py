"""transformers, behind one changed import: the model is in the host, shared by all who ask for the same.

    from sharedmodel.client.transformers import MarianMTModel, MarianTokenizer, pipeline

    translate = pipeline("translation", model="Helsinki-NLP/opus-mt-en-zh")
    translate("one text")            # [{"translation_text": "…"}]

    tokenizer = MarianTokenizer.from_pretrained("Helsinki-NLP/opus-mt-en-zh")
    model = MarianMTModel.from_pretrained("Helsinki-NLP/opus-mt-en-zh")
    tokenizer.batch_decode(model.generate(**tokenizer(["one text"], return_tensors="pt")), skip_special_tokens=True)

Token for token what `MarianMTModel.generate` gives, greedy and by beams. transformers 5 has no pipeline of
translation any more, and its users call the model and the tokenizer; programs written for version 4 find it here
still, with the same results. Texts are tokenised in the host; torch is imported where tensors are asked for.
`pipeline` does text-classification, token-classification, image-classification and feature-extraction by the
library itself, in the host; question-answering too, which version 5 has no more either.

Settings (`model.generation_config.num_beams = 1`) are each object's own and go with its calls. An object is
light: it pickles by reference, works after a fork, and may be used by any number of threads and processes.

Not carried, each by name: training, saving, the modules inside, sampling, other devices than "cpu", other models
than Marian's for translation. Elsewhere than on Linux, this is transformers itself.
"""

from __future__ import annotations

import sys
from typing import Any

if sys.platform == "linux":
    from .encoding import BatchEncoding
    from .generic import Pipeline
    from .marian import GenerationConfig, MarianMTModel
    from .pipelines import pipeline
    from .tokenizer import MarianTokenizer
    from .translating import TranslationPipeline

    # Of all models that these could mean, those that are carried.
    AutoModelForSeq2SeqLM, AutoTokenizer = MarianMTModel, MarianTokenizer
else:
    from sharedmodel.client.fallback import fall_back

    fall_back("transformers", globals())

__all__ = [
    "AutoModelForSeq2SeqLM",
    "AutoTokenizer",
    "BatchEncoding",
    "GenerationConfig",
    "MarianMTModel",
    "MarianTokenizer",
    "Pipeline",
    "TranslationPipeline",
    "pipeline",
]


def __getattr__(name: str) -> Any:
    if sys.platform != "linux":  # which loads what it has when it is asked for
        import transformers

        return getattr(transformers, name)
    if name == "__version__":  # of the library in the host
        from sharedmodel.client.backing import about

        return about("translator")["versions"]["transformers"]
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(f"transformers.{name} is not part of this stand-in; it has: {', '.join(__all__)}")
