"""Heads: headers as one text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.head import head_of, headers_of, values_of

names = st.text(st.sampled_from("aAbB-"), min_size=1, max_size=3)
values = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=5)
pairs = st.lists(st.tuples(names, values), max_size=5)


@given(headers=pairs, name=names)
def test_what_is_written_is_read(headers: list[tuple[str, str]], name: str) -> None:
    """All of it, and one name of it in any case."""
    head = head_of(headers)
    assert headers_of(head) == tuple((name.lower(), value.strip(" \t")) for name, value in headers)
    assert values_of(head, name) == [value for key, value in headers_of(head) if key == name.lower()]
    assert head_of(headers_of(head)).lower() == "".join(f"{n}: {v}\r\n" for n, v in headers_of(head)).lower()


@pytest.mark.parametrize("value", ["1\r\nhost: b", "1\nhost: b", "1\r\nhost:b\r\n", "1\0", "İİİİ"])
def test_no_value_becomes_a_header(value: str) -> None:
    head = head_of([("x-a", value), ("x-b", "2")])
    assert [name for name, _ in headers_of(head)] == ["x-a", "x-b"]
    assert values_of(head, "host") == []
    assert values_of(head, "X-B") == ["2"]


def test_a_name_is_a_whole_name() -> None:
    head = "X-Signature-Old: 1\r\nSignature: 2\r\nX-Signature:3 \r\n"
    assert values_of(head, "x-signature") == ["3"]
    assert values_of(head, "signature") == ["2"]
    assert values_of("", "signature") == []
