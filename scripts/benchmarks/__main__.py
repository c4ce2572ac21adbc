"""``python -m scripts.benchmarks [PART...] [--kills N]``: run the parts named, or all, and print their tables."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from functools import partial

from . import (
    beginnings,
    beside,
    calls,
    chaos,
    clients,
    executor,
    footprint,
    instances,
    onnx_pair,
    overhead,
    standins,
    throughput,
    web,
    weights,
)
from .table import show

PARTS = {
    "calls": calls.run,
    "clients": clients.run,
    "footprint": footprint.run,
    "onnx": onnx_pair.run,
    "overhead": overhead.run,
    "throughput": throughput.run,
    "instances": instances.run,
    "weights": weights.run,
    "beginnings": beginnings.run,
    "executor": executor.run,
    "standins": standins.run,
    "beside": beside.run,
    "web": web.run,
    "chaos": chaos.run,
}


def main() -> int:
    """Print a table a part; the exit code says whether every bar was reached."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--kills", type=int, default=chaos.KILLS, help="of the part chaos")
    options = parser.parse_args()
    named = options.parts or list(PARTS)
    if unknown := set(named) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    parts = PARTS | {"chaos": partial(chaos.run, options.kills)}
    print(f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}")
    reached = True
    for name in named:
        rows = parts[name]()
        show(name, rows)
        reached = reached and all(row.reached for row in rows)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
