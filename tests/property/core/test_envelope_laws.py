import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core import envelope
from posthouse.core.errors import InvalidInput, MalformedJson, PosthouseError
from posthouse.core.limits import JSON_DEPTH_MAX
from posthouse.core.model import Environment, Event
from posthouse.core.time_format import TIME_MS_MAX, parse_http_date, parse_rfc3339, rfc3339

TIMES = st.integers(0, TIME_MS_MAX)
#: Strings with what matters: brackets, quotes, backslashes, the null character.
TEXTS = st.text(st.sampled_from('[]{}"\\u0\x00aä😀/'), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def wrapped(value: object, depth: int) -> object:
    for level in range(depth):
        value = [value] if level % 2 else {"[": value}
    return value


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def holds_null(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(holds_null, value)) or any(map(holds_null, value.values()))
    if isinstance(value, list):
        return any(map(holds_null, value))
    return isinstance(value, str) and "\x00" in value


def is_taken(raw: bytes) -> bool:
    try:
        envelope.check_json(raw)
    except PosthouseError:
        return False
    return True


@given(JSON, st.integers(0, JSON_DEPTH_MAX + 5), st.booleans(), st.sampled_from([None, 1]))
def test_json_is_refused_just_for_null_characters_and_depth(
    inner: object, extra: int, ascii_only: bool, indent: int | None
) -> None:
    """The look at the bytes agrees with the look at the parsed value."""
    value = wrapped(inner, extra)
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert is_taken(raw) == (depth_of(value) <= JSON_DEPTH_MAX and not holds_null(value))


@given(st.binary(max_size=60).map(lambda raw: b'"' + raw + b'"') | st.binary(max_size=60))
def test_what_passes_is_readable_text(raw: bytes) -> None:
    """What the parser lets through as raw bytes is either refused here or UTF-8."""
    try:
        msgspec.json.Decoder(msgspec.Raw).decode(raw)
    except msgspec.DecodeError:
        return
    try:
        envelope.check_json(raw)
    except (MalformedJson, InvalidInput):
        return
    json.loads(raw.decode())


@given(JSON, TIMES, st.none() | TIMES, st.text(max_size=20))
def test_the_body_is_json_that_carries_the_data_byte_for_byte(
    value: object, accepted_at: int, occurred_at: int | None, event_type: str
) -> None:
    data = json.dumps(value, indent=1).encode()
    event = Event(
        key=1,
        id="evt_1",
        environment=Environment.LIVE,
        tenant="default",
        type=event_type,
        accepted_at=accepted_at,
        data=data,
        occurred_at=occurred_at,
    )
    body = envelope.body(event)
    assert body.endswith(b',"data":' + data + b"}")
    when = accepted_at if occurred_at is None else occurred_at
    assert json.loads(body) == {"type": event_type, "timestamp": rfc3339(when), "data": value}


@given(TIMES)
def test_a_time_survives_its_text(time: int) -> None:
    assert parse_rfc3339(rfc3339(time)) == time


@given(TIMES, TIMES)
def test_texts_sort_like_their_times(one: int, other: int) -> None:
    assert (rfc3339(one) < rfc3339(other)) == (one < other)


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 - the strategy adds the zone
    st.integers(-1_439, 1_439),
)
def test_the_standard_library_agrees_about_offsets(naive: datetime, minutes: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    assert parse_rfc3339(moment.isoformat()) == since // timedelta(milliseconds=1)


@given(st.text(max_size=40) | st.text("0123456789-:TZ+. ", max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        time = parse_rfc3339(text)
    except InvalidInput:
        return
    assert 0 <= time <= TIME_MS_MAX


@given(st.text(max_size=40) | st.text("Sun, 06 Nov 1994 08:49:37 GMT", max_size=40), TIMES)
def test_any_text_is_an_http_date_or_none(text: str, now: int) -> None:
    assert isinstance(parse_http_date(text, now=now), int | None)


@given(TIMES, st.sampled_from(["%a, %d %b %Y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]))
def test_http_dates_are_read_back(time: int, form: str) -> None:
    seconds = time // 1_000
    text = datetime.fromtimestamp(seconds, UTC).strftime(form)
    assert parse_http_date(text, now=0) == seconds * 1_000
