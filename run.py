"""Paint a canvas, or with -m a grid of them: `python run.py --help`."""

import sys

from nst.main import main

if __name__ == "__main__":
    sys.exit(main())
