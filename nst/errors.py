"""The one exception that people are meant to read."""


class NstError(Exception):
    """Something the person at the keyboard can mend.

    The message is one line: the key, the value it has, what is allowed, and what to do.
    """
