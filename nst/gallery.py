"""`python -m nst.gallery FOLDER` makes sheets and page of a sweep again."""

import sys

from nst.report.build import main

if __name__ == "__main__":
    sys.exit(main())
