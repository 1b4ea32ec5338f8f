"""Paint a canvas, or with -m a grid of them: `python run.py --help`."""

import sys

# The completion of fish looks into this file for the word @hydra.main, which is in nst/app.py.
from nst.main import main

if __name__ == "__main__":
    sys.exit(main())
