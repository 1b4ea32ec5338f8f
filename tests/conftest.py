"""What every test needs before torch is imported."""

import os

# Each worker of pytest-xdist computes alone; a thread pool in each would only fight over the cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
