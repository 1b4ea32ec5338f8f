"""Text from outside, made harmless."""

from hypothesis import given
from hypothesis import strategies as st
from support.markdown import tokens

from nst.io.text import escape_unprintable, markdown, markdown_code


@given(st.text())
def test_markdown_is_the_text_and_nothing_else(text: str) -> None:
    plain = list(tokens(markdown(text)))
    assert {token.type for token in plain} <= {"text", "text_special", "paragraph_open", "paragraph_close"}
    assert "".join(token.content for token in plain) == escape_unprintable(text).strip()
    if text:
        [code] = [token for token in tokens(f"a {markdown_code(text)} b") if token.type == "code_inline"]
        assert code.content.strip() == escape_unprintable(text).strip()
