"""Which statuses count as success."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidInput
from posthouse.core.limits import SUCCESS_CHARS_MAX
from posthouse.core.success import SUCCESS_DEFAULT, parse_success


def test_nothing_said_is_every_2xx() -> None:
    assert parse_success("") == parse_success(SUCCESS_DEFAULT)
    assert parse_success("").statuses == frozenset(range(200, 300))


@pytest.mark.parametrize(
    ("text", "canonical", "count"),
    [
        ("200", "200", 1),
        ("200,200", "200", 1),
        ("200-299,409", "200-299,409", 101),
        (" 409 , 250 - 299,200-251 ", "200-299,409", 101),
        ("202,201,200", "200-202", 3),
        ("301,303", "301,303", 2),
        ("411-428", "411-428", 18),
    ],
)
def test_a_set_has_one_text(text: str, canonical: str, count: int) -> None:
    success = parse_success(text)
    assert (success.text, len(success.statuses)) == (canonical, count)


@pytest.mark.parametrize(
    "text",
    [
        "410",
        "429",
        "200-499",
        "199",
        "500",
        "200-500",
        "100-200",
        "299-200",
        "2xx",
        "200;201",
        ",",
        "200,",
        "0200",
        "-200",
    ],
)
def test_what_can_be_no_success_is_refused(text: str) -> None:
    """A 410 and a 429 ask for something, and a 5xx has taken nothing."""
    with pytest.raises(InvalidInput) as refusal:
        parse_success(text)
    assert refusal.value.errors[0]["path"] == "success"


def test_the_text_has_a_bound() -> None:
    parse_success(",".join(["200"] * (SUCCESS_CHARS_MAX // 4)))
    with pytest.raises(InvalidInput):
        parse_success(",".join(["200"] * (SUCCESS_CHARS_MAX // 4 + 1)))


@given(st.sets(st.integers(200, 499).filter(lambda status: status not in {410, 429}), min_size=1, max_size=60))
def test_every_set_survives_its_text(statuses: set[int]) -> None:
    text = ",".join(map(str, statuses))
    success = parse_success(text)
    assert success.statuses == statuses
    assert parse_success(success.text) == success


@given(st.text("0123456789-, ", max_size=40) | st.text(max_size=20))
def test_any_text_is_a_set_within_the_bounds_or_refused(text: str) -> None:
    try:
        success = parse_success(text)
    except InvalidInput:
        return
    assert success.statuses <= set(range(200, 500)) - {410, 429}
    assert success.statuses
