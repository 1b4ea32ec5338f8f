"""Text from outside, fit to be shown."""


def visible(text: str) -> str:
    r"""The text with what would not be seen escaped: ESC is `\x1b`, and a line break `\n`.

    Names of files and values of overrides may hold anything, and what a terminal is sent it obeys.
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
