"""Slack, against its own library and the example of its documentation."""

import json
from urllib.parse import quote_plus

import pytest
from slack_sdk.signature import SignatureVerifier

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.slack import PRESET
from posthouse.testing.refusals import refusals

#: From docs.slack.dev, Verifying requests from Slack.
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
COMMAND = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
SIGNATURE = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
NOW_S = 1_531_420_618
FORM = "application/x-www-form-urlencoded"
BODY = (
    b'{"type": "event_callback", "event_id": "Ev1", "event_time": 1531420617,'
    b' "event": {"type": "message", "subtype": "channel_join", "channel": "C1"}}'
)
CHALLENGE = (
    b'{"token": "t", "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P", "type": "url_verification"}'
)


def signed(body: bytes = BODY, secret: str = SECRET, content_type: str = "application/json") -> Received:
    text = body.decode("utf-8", "replace")
    signature = SignatureVerifier(secret).generate_signature(timestamp=str(NOW_S), body=text) or ""
    return request(body, signature, content_type)


def request(body: bytes, signature: str, content_type: str) -> Received:
    headers = (
        ("Content-Type", content_type),
        ("X-Slack-Signature", signature),
        ("X-Slack-Request-Timestamp", str(NOW_S)),
    )
    return Received.of("POST", "https://example.com/in/x", headers, body, NOW_S * 1_000)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_the_documentation_s_example_and_what_its_library_signs_are_genuine() -> None:
    assert reason(request(COMMAND, SIGNATURE, FORM)) is None
    assert reason(signed(), "another", SECRET, now_s=NOW_S + 300) is None


def test_what_was_changed_or_is_missing_or_old_is_refused() -> None:
    assert reason(request(COMMAND + b"&a=1", SIGNATURE, FORM)) == "no_match"
    assert reason(signed(), "another") == "no_match"
    assert reason(Received.of("POST", "", signed().headers[:2], BODY, 0)) == "missing_header"
    assert reason(Received.of("POST", "", signed().headers[2:], BODY, 0)) == "missing_header"
    assert reason(signed(), now_s=NOW_S + 301) == "timestamp_too_old"
    assert reason(signed(), now_s=NOW_S - 301) == "timestamp_too_new"


def test_what_an_event_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.identity, item.data) == ("message.channel_join", "Ev1", BODY)
    assert item.occurred_at == 1_531_420_617_000


def test_what_slack_says_of_the_app() -> None:
    body = b'{"type": "app_rate_limited", "minute_rate_limited": 1518467820}'
    (item,) = PRESET.read(signed(body), body).items
    assert (item.type, item.occurred_at) == ("app_rate_limited", 1_518_467_820_000)


def test_a_slash_command_becomes_an_object() -> None:
    (item,) = PRESET.read(signed(COMMAND, content_type=FORM), COMMAND).items
    fields = json.loads(item.data)
    assert (item.type, item.identity) == ("slash_command", fields["trigger_id"])
    assert (fields["command"], fields["text"]) == ("/webhook-collect", "")


def test_a_click_is_the_json_of_its_field() -> None:
    click = b'{"type": "block_actions", "trigger_id": "12.3", "user": {"name": "J\xc3\xb6"}}'
    form = b"payload=" + quote_plus(click).encode()
    (item,) = PRESET.read(signed(form, content_type=FORM), form).items
    assert (item.type, item.identity, item.data) == ("block_actions", "12.3", click)


def test_a_check_of_the_certificate_is_a_heartbeat() -> None:
    form = b"ssl_check=1&token=x"
    assert PRESET.read(signed(form, content_type=FORM), form).is_heartbeat


def test_the_challenge_is_echoed_when_it_is_signed_and_new() -> None:
    assert PRESET.handshake is not None
    shaken = PRESET.handshake(signed(CHALLENGE), ["another", SECRET])
    assert shaken is not None
    assert (shaken.reply.status, shaken.reply.body) == (200, CHALLENGE.split(b'"')[7])
    assert PRESET.handshake(signed(), [SECRET]) is None
    quoted = b'{"type": "event_callback", "event": {"text": "url_verification"}}'
    assert PRESET.handshake(signed(quoted), [SECRET]) is None
    assert PRESET.handshake(signed(b"url_verification"), [SECRET]) is None
    with pytest.raises(SignatureInvalid, match="matches"):
        PRESET.handshake(signed(CHALLENGE), ["another"])
    late = Received.of("POST", "", signed(CHALLENGE).headers, CHALLENGE, (NOW_S + 301) * 1_000)
    with pytest.raises(SignatureInvalid, match="too old"):
        PRESET.handshake(late, [SECRET])


def test_it_retries_all_but_success_and_must_be_answered_in_three_seconds() -> None:
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert (PRESET.sender.deadline_ms, PRESET.sender.delays_s) == (3_000, (0, 60, 300))


@pytest.mark.parametrize("form", [b"", b"payload=", b"payload=%ff", b"\xff", b"a=1&" * 200])
def test_odd_forms_are_read_or_unreadable(form: bytes) -> None:
    try:
        PRESET.read(signed(form, content_type=FORM), form)
    except Unreadable:
        return


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return
