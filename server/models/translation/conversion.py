"""A Marian model for CTranslate2; run as a process of its own (see `exports`)."""

from __future__ import annotations

import sys


def make(folder: str, to: str, precision: str) -> None:
    """Fill a new folder."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(folder).convert(to, quantization=None if precision == "float32" else precision)


if __name__ == "__main__":
    make(*sys.argv[1:])
