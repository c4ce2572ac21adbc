"""cnstd, behind one changed import: the models are in the host, shared by all who ask for the same.

    from sharedmodel.client.cnstd import CnStd

    std = CnStd()
    for text in std.detect("page.png")["detected_texts"]:
        print(text["box"], text["score"])

Constructor, methods, results and exceptions are CnStd's. Files and images are read here, with your rights;
models are loaded in the host: an embedded one loads (or downloads) what you ask for, a configured server is
asked for the model among those it lists. An object is light: it pickles by reference, works after a fork,
and may be used by any number of threads and processes.

Not carried, each by name: `det_model` and `angle_clf`, the model objects themselves; the layout analyser and the
detectors by themselves. Elsewhere than on Linux, this is cnstd itself.
"""

from __future__ import annotations

import sys
from typing import Any

if sys.platform == "linux":
    from .cn_std import CnStd
else:
    from sharedmodel.client.fallback import fall_back

    fall_back("cnstd", globals())

__all__ = ["CnStd"]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(f"cnstd.{name} is not part of this stand-in; it has: {', '.join(__all__)}")
