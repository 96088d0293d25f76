"""Rows as arrays, text that can be stored, and which guard stands for an ordering key."""

import pytest

from posthouse.store.postgres.binding import BUCKETS, columns, order_bucket, storable


def test_rows_become_columns() -> None:
    assert columns([(1, "a", None), (2, "b", b"x")], 3) == [[1, 2], ["a", "b"], [None, b"x"]]


def test_no_rows_are_as_many_columns() -> None:
    assert columns([], 3) == [[], [], []]


def test_rows_must_be_of_one_width() -> None:
    with pytest.raises(ValueError, match="argument"):
        columns([(1, 2), (1,)], 2)


def test_text_for_people_is_always_storable() -> None:
    assert storable("a\0b\ud83d") == "a\ufffdb\ufffd"
    assert storable("naïve 👍") == "naïve 👍"


def test_the_guard_of_an_ordering_key_is_the_same_for_ever() -> None:
    """Nodes of several versions must lock the same row."""
    assert [order_bucket(7, "a"), order_bucket(7, "b"), order_bucket(1 << 62, "a")] == [116, 152, 278]


def test_guards_are_spread() -> None:
    found = {order_bucket(7, str(n)) for n in range(10_000)}
    assert found == set(range(BUCKETS))
    assert 0 <= order_bucket((1 << 63) - 1, "\ud800") < BUCKETS
