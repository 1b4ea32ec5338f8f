"""Command lines of the small programs."""

import argparse
from typing import NoReturn

from nst.errors import NstError


class OneLineParser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong; argparse itself prints how it is used, too."""

    def error(self, message: str) -> NoReturn:
        """Raise it as an NstError."""
        raise NstError(f"{message}; `{self.prog} --help` says what is taken")
