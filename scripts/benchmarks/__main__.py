"""``python -m scripts.benchmarks [PART...]``: run the parts named, or all, and print their tables."""

from __future__ import annotations

import os
import platform
import sys

from . import calls, clients, footprint, onnx_pair
from .table import show

PARTS = {"calls": calls, "clients": clients, "footprint": footprint, "onnx": onnx_pair}


def main() -> int:
    """Print a table a part; the exit code says whether every bar was reached."""
    named = sys.argv[1:] or list(PARTS)
    if unknown := set(named) - set(PARTS):
        print(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    print(f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}")
    reached = True
    for name in named:
        rows = PARTS[name].run()
        show(name, rows)
        reached = reached and all(row.reached for row in rows)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
