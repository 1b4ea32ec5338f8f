"""Lines of text that fit where they are put."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageFont

INK, GREY = "#1a1a1a", "#6b6b6b"
TITLE, HEAD, NOTE, SMALL = 30, 18, 15, 13  # type sizes, in pixels

NO_BREAK_SPACE = "\u00a0"


@dataclass(frozen=True)
class Text:
    """One line at its place; `anchor` is Pillow's: which point of it lies at (x, y)."""

    line: str
    size: int
    ink: str
    x: int
    y: int
    anchor: str = "la"

    def draw(self, page: ImageDraw.ImageDraw) -> None:
        """Draw it on a page."""
        page.text((self.x, self.y), self.line, self.ink, _font(self.size), self.anchor)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of its ink on the page."""
        page = ImageDraw.Draw(Image.new("L", (1, 1)))
        return page.textbbox((self.x, self.y), self.line, _font(self.size), self.anchor)


@dataclass(frozen=True)
class Block:
    """Lines that belong together, each with its type size and ink, before they have a place."""

    lines: tuple[tuple[str, int, str], ...] = ()

    @classmethod
    def fit(cls, text: str, width: int, most: int, size: int = NOTE, ink: str = GREY) -> "Block":
        """Wrap a text into at most `most` lines of at most `width` pixels.

        A text too long for that loses its middle to an ellipsis: the ends of a path, or of two
        values that differ in the last letter, tell most.
        """
        visible = (c if c.isprintable() or c == NO_BREAK_SPACE else " " for c in text)
        text = re.sub(" +", " ", "".join(visible)).strip()
        keep = min(len(text), most * width // (size // 5))  # no letter is narrower than that
        lines = _wrap(_elide(text, keep), width, size)
        while len(lines) > most:
            keep = min(keep - 1, int(keep * 0.97))
            lines = _wrap(_elide(text, keep), width, size)
        return cls(tuple((line, size, ink) for line in lines))

    def __add__(self, other: "Block") -> "Block":
        return Block(self.lines + other.lines)

    @property
    def width(self) -> int:
        """Pixels across, of its longest line."""
        return max((_width(line, size) for line, size, _ in self.lines), default=0)

    @property
    def height(self) -> int:
        """Pixels down, with the leading."""
        return sum(line_height(size) for _, size, _ in self.lines)

    def place(self, x: int, y: int, anchor: str = "la") -> Iterable[Text]:
        """Its lines one under another from `y` down, each with its anchor at `x`."""
        for line, size, ink in self.lines:
            yield Text(line, size, ink, x, y, anchor)
            y += line_height(size)


def line_height(size: int) -> int:
    """Pixels from a line of a type size to the next."""
    return round(size * 1.3)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _width(line: str, size: int) -> int:
    return math.ceil(_font(size).getlength(line))


def _elide(text: str, keep: int) -> str:
    """Keep so many letters of a text, of both its ends."""
    if keep >= len(text):
        return text
    return f"{text[: (keep + 1) // 2].rstrip()}…{text[len(text) - keep // 2 :].lstrip()}"


def _wrap(text: str, width: int, size: int) -> list[str]:
    """Break text into lines: between words if they fit, else after punctuation, else anywhere."""
    lines = [""]

    def add(piece: str) -> None:
        if lines[-1] and _width((lines[-1] + piece).rstrip(), size) > width:
            lines.append("")
        lines[-1] += piece

    for word in re.findall("[^ ]+ ?", text):
        if _width(word.rstrip(), size) <= width:
            add(word)
            continue
        for part in re.findall("[^/,=_&?-]+[/,=_&?-]*|[/,=_&?-]+", word):
            for piece in [part] if _width(part, size) <= width else part:
                add(piece)
    # A separator at the end of a line separates nothing.
    bare = (line.replace(NO_BREAK_SPACE, " ").strip(" ·") for line in lines)
    return [line for line in bare if line]
