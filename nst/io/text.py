"""Text from outside, fit to be shown."""

import html
import math
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
    """Markdown that shows the text as it is, on one line: it makes no link, no picture and no HTML.

    Only what would be taken for markup is escaped: some pages show the source.
    """
    escaped = html.escape(escape_unprintable(text).strip(), quote=False)
    escaped = re.sub(r"([\\`*\[\]~]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.)", r"\\\1", escaped)
    return re.sub(r"^(\d*)([#+=.)-])", r"\1\\\2", escaped)  # else a heading, a rule or a list


def markdown_code(text: str) -> str:
    """Markdown that shows the text as code, on one line: its fence is longer than any in the text."""
    text = escape_unprintable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if len(fence) > 1 else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def as_number(value: str) -> float | None:
    """A value as a number; None if it is none, or not finite."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def as_written(value: str) -> str:
    """A value as people write it: 1e6 for Hydra's 1000000.0, 7000 for 7000.0, a path without `${root:}`.

    Other text is as it is, on one line.
    """
    text, number = " ".join(re.sub(r"\$\{root:([^}]*)\}", r"\1", value).split()), as_number(value)
    if number is None:
        return text
    digits = f"{number:.15g}"
    if "e" in digits:
        digits = f"{number:f}"
    forms = [digits, text]
    if number and not 1e-3 <= abs(number) < 1e5:
        mantissa, _, exponent = f"{number:.14e}".partition("e")
        forms.insert(0, f"{float(mantissa):.15g}e{int(exponent)}")
    return min(forms, key=len)
