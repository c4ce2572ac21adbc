"""cnocr, behind one changed import: the models are in the host, shared by all who ask for the same.

    from sharedmodel.client.cnocr import CnOcr

    ocr = CnOcr()
    for line in ocr.ocr("page.png"):
        print(line["text"], line["score"])

Constructor, methods, results and exceptions are CnOcr's. Files and images are read here, with your rights;
models are loaded in the host: an embedded one loads (or downloads) what you ask for, a configured server is
asked for the model among those it lists. An object is light: it pickles by reference, works after a fork,
and may be used by any number of threads and processes.

Not carried: `rec_model` and `det_model`, the model objects themselves. Elsewhere than on Linux, this is cnocr itself.
"""

from __future__ import annotations

import sys
from typing import Any

if sys.platform == "linux":
    from .cn_ocr import CnOcr
else:
    from sharedmodel.client.fallback import fall_back

    fall_back("cnocr", globals())

__all__ = ["CnOcr"]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(f"cnocr.{name} is not part of this stand-in; it has: {', '.join(__all__)}")
