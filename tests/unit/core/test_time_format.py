from datetime import UTC, datetime

import pytest

from posthouse.core.errors import InvalidInput
from posthouse.core.time_format import TIME_MS_MAX, parse_http_date, parse_rfc3339, rfc3339

NOW = 1_760_000_000_000  #: 2025-10-09T08:53:20Z


def ms(year: int, month: int, day: int) -> int:
    """The Unix milliseconds of that day at 08:49:37 UTC."""
    return int(datetime(year, month, day, 8, 49, 37, tzinfo=UTC).timestamp()) * 1_000


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (NOW + 7, "2025-10-09T08:53:20.007Z"),
        (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
        (TIME_MS_MAX, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_written_in_utc_with_milliseconds(time: int, text: str) -> None:
    assert rfc3339(time) == text
    assert parse_rfc3339(text) == time


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2025-10-09T08:53:20Z", NOW),
        ("2025-10-09t08:53:20z", NOW),
        ("2025-10-09T10:53:20+02:00", NOW),
        ("2025-10-08T23:53:20-09:00", NOW),
        ("2025-10-09T14:23:20+05:30", NOW),
        ("2025-10-09T08:53:20+00:00", NOW),
        ("2025-10-09T08:53:20-00:00", NOW),
        ("2025-10-09T08:53:20.1Z", NOW + 100),
        ("2025-10-09T08:53:20.12Z", NOW + 120),
        ("2025-10-09T08:53:20.1239Z", NOW + 123),
        ("2025-10-09T08:53:20.999999999Z", NOW + 999),
        ("2025-10-09T08:53:20.0004Z", NOW),
        ("1969-12-31T23:00:00-01:00", 0),
    ],
)
def test_offsets_and_fractions_are_read(text: str, time: int) -> None:
    assert parse_rfc3339(text) == time


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025-10-09",
        "2025-10-09T08:53:20",
        "2025-10-09T08:53Z",
        "2025-10-09 08:53:20Z",
        "2025-10-09T08:53:20.Z",
        "2025-10-09T08:53:20,5Z",
        "2025-10-09T08:53:20+0200",
        "2025-10-09T08:53:20+24:00",
        "2025-10-09T08:53:20+02:60",
        "2025-13-09T08:53:20Z",
        "2025-00-09T08:53:20Z",
        "2025-02-29T08:53:20Z",
        "2025-10-09T24:00:00Z",
        "2025-10-09T08:60:20Z",
        "2016-12-31T23:59:60Z",
        "1969-12-31T23:59:59.999Z",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "0000-01-01T00:00:00Z",
        "20251009T085320Z",
        "2025-10-09T08:53:20Z ",
        "2025-10-09T08:53:20Z\n",
        " 2025-10-09T08:53:20Z",
        "\u0662025-10-09T08:53:20Z",
        "2025-10-09T08:53:20." + "1" * 100 + "Z",
        "1760000000",
        "now",
    ],
)
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_rfc3339(text)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", ms(1994, 11, 6)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", ms(1994, 11, 6)),
        ("Sun Nov  6 08:49:37 1994", ms(1994, 11, 6)),
        ("Wed Nov 16 08:49:37 1994", ms(1994, 11, 16)),
        ("Wednesday, 06-Nov-75 08:49:37 GMT", ms(2075, 11, 6)),
        ("Wednesday, 06-Nov-76 08:49:37 GMT", ms(1976, 11, 6)),
        ("Thu, 09 Oct 2025 08:53:20 GMT", NOW),
    ],
)
def test_http_dates_are_read_in_all_three_forms(text: str, time: int) -> None:
    assert parse_http_date(text, now=NOW) == time


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nom 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:3: GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun Nov 00 08:49:37 1994",
        "sun, 06 Nov 1994 08:49:37 GMT",
        "2025-10-09T08:53:20Z",
    ],
)
def test_what_is_no_http_date_is_none(text: str) -> None:
    assert parse_http_date(text, now=NOW) is None
