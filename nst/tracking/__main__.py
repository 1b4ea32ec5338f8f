"""`python -m nst.tracking FOLDER` logs what is not in MLflow yet."""

import sys

from nst.tracking.command import main

sys.exit(main())
