"""`python -m nst.verdicts [OUTPUTS]` judges studies, and makes a page of their verdicts."""

import sys

from nst.studies.gathering import main

if __name__ == "__main__":
    sys.exit(main())
