"""``python -m scripts.chaos [--kills N] [--pause SECONDS] [--seed N]``: a storm, and all that is known of it."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile

from .storm import Storm


def main() -> int:
    """The exit code says whether nothing went wrong."""
    parser = argparse.ArgumentParser(prog="python -m scripts.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--pause", type=float, default=0.4, metavar="SECONDS", help="between two kills, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the logs, and say where they are")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sm-", dir="/tmp") as directory:
        toll = Storm(directory, options.kills, options.pause, options.seed).run()
        if options.keep:
            print(shutil.copytree(directory, f"{directory}-kept", ignore=shutil.ignore_patterns("*.sock")))
    print(toll)
    for model, seconds in toll.outages.items():
        ordered = sorted(seconds)
        print(f"{model}: answers again after {ordered[len(ordered) // 2]:.2f} s, at most {ordered[-1]:.2f} s")
    return 0 if toll.clean else 1


if __name__ == "__main__":
    sys.exit(main())
