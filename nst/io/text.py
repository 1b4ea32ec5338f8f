"""Text from outside, fit to be shown."""

import html
import re


def escape_unprintable(text: str) -> str:
    r"""The text with what would not be seen escaped: ESC is `\x1b`, and a line break `\n`.

    Names of files and values of overrides may hold anything, and what a terminal is sent it obeys.
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def natural_order(name: str) -> list[tuple[int, str]]:
    """A key to sort by: so that 10 comes after 9, and seed10 after seed9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def markdown(text: str) -> str:
    """Markdown that shows the text as it is, on one line: it makes no link, no picture and no HTML."""
    escaped = html.escape(escape_unprintable(text), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#+.!~=|:-])", r"\\\1", escaped).strip()


def markdown_code(text: str) -> str:
    """Markdown that shows the text as code, on one line: its fence is longer than any in the text."""
    text = escape_unprintable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if len(fence) > 1 else ""
    return f"{fence}{pad}{text}{pad}{fence}"
