"""`python -m nst.same_loss FOLDER...` compares iterations to the same loss."""

import sys

from nst.report.same_loss import main

if __name__ == "__main__":
    sys.exit(main())
