"""Markdown as a reader of it sees it."""

from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token


def tokens(source: str) -> Iterator[Token]:
    """What a Markdown text consists of."""
    for token in MarkdownIt("commonmark", {"html": True}).parse(source):
        yield from token.children or [token]
