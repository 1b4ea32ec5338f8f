"""The `nst` command, and what run.py starts."""

import gc
import sys

from nst.config.completion import answer, shell_of
from nst.io.signals import install_handlers


def main() -> int:
    """Paint what the command line asks for; returns the exit code."""
    if shell := shell_of(sys.argv[1:]):
        return answer(shell)
    gc.disable()  # until all is imported, of which nothing is garbage: `nst.lifecycle`
    install_handlers()  # before what takes seconds to import, so that Ctrl-C is answered then, too
    from nst.app import app
    from nst.cli import run_app

    return run_app(app)
