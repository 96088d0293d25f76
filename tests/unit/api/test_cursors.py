"""Cursors come back as they went out, and nothing else comes back."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.api.cursors import decode_key, decode_keys, decode_name, encode_keys, encode_name
from posthouse.core.errors import InvalidInput
from posthouse.core.ids import KEY_MAX

keys = st.integers(0, KEY_MAX)


@given(first=keys, second=keys)
def test_keys_come_back(first: int, second: int) -> None:
    assert decode_keys("d", 2, encode_keys("d", first, second)) == (first, second)
    assert decode_key("e", encode_keys("e", first)) == first
    with pytest.raises(InvalidInput):
        decode_key("e", encode_keys("d", first))
    with pytest.raises(InvalidInput):
        decode_key("d", encode_keys("d", first, second))


@given(name=st.text(min_size=1, max_size=30))
def test_names_come_back(name: str) -> None:
    assert decode_name("t", encode_name("t", name)) == name


def test_no_cursor_is_the_beginning() -> None:
    assert decode_keys("d", 2, None) is None
    assert decode_key("d", None) is None
    assert decode_name("d", None) is None


@given(text=st.text(max_size=40))
def test_garbage_is_refused(text: str) -> None:
    """Whatever is taken for a cursor is one: it encodes to the same text."""
    keys_found = name_found = None
    with suppress(InvalidInput):
        keys_found = decode_keys("d", 2, text)
    with suppress(InvalidInput):
        name_found = decode_name("d", text)
    assert keys_found is None or encode_keys("d", *keys_found) == text
    assert name_found is None or encode_name("d", name_found) == text


def test_a_key_beyond_the_last_is_refused() -> None:
    cursor = encode_keys("d", KEY_MAX + 1)
    with pytest.raises(InvalidInput):
        decode_key("d", cursor)


def test_a_name_beyond_its_bound_is_refused() -> None:
    for name in ("", "x" * 129):
        with pytest.raises(InvalidInput):
            decode_name("t", encode_name("t", name))
