"""``python -m scripts.demonstration``; the worker processes import this file too, so it imports nothing."""

import sys

if __name__ == "__main__":
    from .story import main

    sys.exit(main())
