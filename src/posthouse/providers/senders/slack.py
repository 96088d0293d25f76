"""Slack: the Events API, interactive components and slash commands."""

from collections.abc import Sequence
from typing import Final

import msgspec

from posthouse.providers.forms import form_fields, is_form
from posthouse.providers.preset import Handshake, Preset, Reading, Reply, SenderRules
from posthouse.providers.reading import Field, Reader, decode, dig
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.schemes import Hmac, Unit

_SCHEME: Final = Hmac(
    header="X-Slack-Signature",
    prefix="v0=",
    timestamp_header="X-Slack-Request-Timestamp",
    signed="v0:{ts}:{body}",
    tolerance_s=300,
)
_EVENT: Final = Reader(
    type=(Field(("event", "type")), Field(("event", "subtype"))),
    identity=Field(("event_id",)),
    occurred_at=Field(("event_time",)),
    unit=Unit.SECONDS,
)
#: What is not in an envelope: clicks, dialogs, commands, and what Slack says of the app itself.
_OTHER: Final = Reader(
    type=(Field(("type",)),),
    identity=Field(("trigger_id",)),
    occurred_at=Field(("minute_rate_limited",)),
    unit=Unit.SECONDS,
)
_COMMAND: Final = Reader(type=(), fallback="slash_command", identity=Field(("trigger_id",)))


def _read(received: Received, content: bytes) -> Reading:
    if is_form(received):
        return _read_form(received, content)
    is_envelope = dig(decode(content), ("type",)) == "event_callback"
    return (_EVENT if is_envelope else _OTHER)(received, content)


def _read_form(received: Received, content: bytes) -> Reading:
    """What a component sends stands as JSON in a field; of a slash command the fields become an object."""
    fields = dict(form_fields(content))
    if "payload" in fields:
        return _OTHER(received, fields["payload"].encode())
    if fields.get("ssl_check") == "1":
        return Reading(is_heartbeat=True)
    return _COMMAND(received, msgspec.json.encode(fields))


def _handshake(received: Received, secrets: Sequence[str]) -> Handshake | None:
    """The challenge of a new request URL, which Slack signs as it signs all else."""
    if b"url_verification" not in received.body:
        return None
    try:
        event = decode(received.body)
    except Unreadable:
        return None
    challenge = dig(event, ("challenge",))
    if dig(event, ("type",)) != "url_verification" or not isinstance(challenge, str):
        return None
    _SCHEME.verify(received, secrets, now_s=received.at // 1_000)
    headers = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))
    return Handshake(Reply(200, headers, challenge.encode()))


PRESET: Final = Preset(
    name="slack",
    title="Slack",
    docs="https://docs.slack.dev/authentication/verifying-requests-from-slack",
    secret_help=("The app's signing secret under Basic Information, App Credentials: 32 hexadecimal digits."),
    scheme=_SCHEME,
    read=_read,
    handshake=_handshake,
    # The subscription is disabled when fewer than one in twenty events of an hour were answered with success.
    sender=SenderRules(
        deadline_ms=3_000,
        delays_s=(0, 60, 300),
        follows_redirects=True,
        known="documented for events; commands and clicks are not retried",
    ),
)
