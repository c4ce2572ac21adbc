"""Whether an ONNX model has weights in other files: told from its bytes, which may be mapped. Pure.

Such a tensor names its file in an entry of `external_data`, in the layout of protobuf:

    6a LENGTH   0a 08 "location"   12 LENGTH  the file's name

An input that is called `location` has 5a in the place of 6a. An intermediate value of that name has 6a too, but a
type where the file's name is, which begins with 0a as a rule, and no file's name does.
"""

from __future__ import annotations

import mmap
import re
from typing import Final

_KEY: Final = b"\x0a\x08location\x12"
_MOST: Final = 6  # bytes of a tag and a length
_BEFORE: Final = re.compile(rb"\x6a[\x80-\xff]{0,4}[\x00-\x7f]\Z")
_TYPE: Final = re.compile(rb"[\x80-\xff]{0,4}[\x00-\x7f]\x0a")


def refers_outside(model: bytes | mmap.mmap) -> bool:
    """Whether it seems to have weights in other files. It is never mistaken where it has."""
    at = model.find(_KEY)
    while at >= 0:
        after = at + len(_KEY)
        if _BEFORE.search(model[max(0, at - _MOST) : at]) and not _TYPE.match(model[after : after + _MOST]):
            return True
        at = model.find(_KEY, after)
    return False
