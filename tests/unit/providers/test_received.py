"""A request as presets see it, and its body decompressed within bounds."""

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.providers.received import Received, Unreadable, content

PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}


def received(
    body: bytes = b"", *headers: tuple[str, str], url: str = "https://example.com/in/x?a=1&b=&a=2"
) -> Received:
    return Received.of("POST", url, headers, body, 0)


def test_a_header_is_found_in_any_case_and_only_where_it_says_one_thing() -> None:
    request = received(b"", ("X-One", "1"), ("x-two", "a"), ("X-TWO", "b"), ("x-same", "c"), ("X-Same", "c"))
    assert [request.header(name) for name in ("x-one", "X-Two", "x-same", "x-none")] == ["1", None, "c", None]
    assert request.every("X-two") == ["a", "b"]


def test_a_parameter_of_the_query_is_its_first() -> None:
    request = received()
    assert [request.parameter(name) for name in "abc"] == ["1", "", None]


@given(body=st.binary(max_size=2_000), codings=st.lists(st.sampled_from(["gzip", "deflate", "identity"]), max_size=3))
def test_what_was_compressed_is_what_is_read(body: bytes, codings: list[str]) -> None:
    packed = body
    for coding in codings:
        packed = PACKERS[coding](packed)
    assert content(received(packed, ("Content-Encoding", ", ".join(codings)))) == body


@given(body=st.binary(max_size=200), coding=st.text(max_size=10))
def test_what_is_not_compressed_as_it_says_is_unreadable(body: bytes, coding: str) -> None:
    with suppress(Unreadable):
        content(received(body, ("content-encoding", coding)))


@pytest.mark.parametrize("cut", [1, 5, -1])
def test_half_a_body_is_unreadable(cut: int) -> None:
    packed = gzip.compress(b"x" * 1_000)
    for body in (packed[:cut], packed + b"more"):
        with pytest.raises(Unreadable):
            content(received(body, ("Content-Encoding", "gzip")))


def test_a_bomb_is_never_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    with pytest.raises(Unreadable, match="more than 1,000 bytes"):
        content(received(bomb, ("Content-Encoding", "gzip")), bytes_max=1_000)
    with pytest.raises(Unreadable, match="more than 9 bytes"):
        content(received(b"x" * 10), bytes_max=9)
