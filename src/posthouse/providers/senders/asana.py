"""Asana: tasks and projects."""

import hmac
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid
from posthouse.providers.preset import DAY_SECONDS, Answers, Handshake, Item, Preset, Reading, Reply, SenderRules
from posthouse.providers.reading import Field, Reader, decode, dig, each, list_below
from posthouse.providers.received import Received
from posthouse.providers.schemes import Hmac, no_match, required

_SECRET_HEADER: Final = "X-Hook-Secret"  # noqa: S105 - the name of a header, no secret
_SIGNATURE_HEADER: Final = "X-Hook-Signature"
#: It is sent back in a header, so it may hold nothing that ends one.
_SECRET: Final = re.compile(r"[!-~]{16,256}")

_NEW: Final = Reader(
    type=(Field(("resource", "resource_type")), Field(("action",))),
    occurred_at=Field(("created_at",)),
    ordering_key=Field(("resource", "gid")),
)
_OLD: Final = msgspec.structs.replace(_NEW, type=(Field(("type",)), Field(("action",))))


def _read(received: Received, content: bytes) -> Reading:
    """Compact events without ids; none of them is the heartbeat."""

    def read(data: bytes) -> Item:
        event = decode(data)
        kind, old_kind = dig(event, ("resource", "resource_type")), dig(event, ("type",))
        item = (_NEW if isinstance(kind, str) else _OLD).item(received, data, event)
        return msgspec.structs.replace(item, contradiction=_contradiction(kind, old_kind))

    items = each(list_below(content, ("events",)), read, fallback=_NEW.fallback)
    return Reading(items, is_heartbeat=not items)


def _contradiction(kind: Any, old_kind: Any) -> str | None:
    if isinstance(kind, str) and isinstance(old_kind, str) and kind != old_kind:
        return "The event's type and its resource's type differ."
    return None


def _handshake(received: Received, secrets: Sequence[str]) -> Handshake | None:
    """Send the secret back that the request brings along.

    Nobody signs a handshake. So only the first one gives the source its secret: another secret for a source that has
    one would let whoever knows the URL sign from then on.
    """
    if not received.every(_SECRET_HEADER) or received.every(_SIGNATURE_HEADER):
        return None
    secret = required(received, _SECRET_HEADER)
    if _SECRET.fullmatch(secret) is None:
        raise SignatureInvalid(signature.MALFORMED_HEADER, f"The header {_SECRET_HEADER} is malformed.")
    known = [hmac.compare_digest(secret.encode(), each.encode()) for each in secrets]
    if known and not any(known):
        raise no_match()
    return Handshake(Reply(200, ((_SECRET_HEADER, secret),)), secret=secret)


PRESET: Final = Preset(
    name="asana",
    title="Asana",
    docs="https://developers.asana.com/docs/webhooks-guide",
    secret_help=(
        "Leave it out: Asana brings its secret along when the webhook is made. Each webhook needs a source of its own."
    ),
    scheme=Hmac(header=_SIGNATURE_HEADER),
    read=_read,
    answers=Answers(retry_after_s=None),
    sender=SenderRules(
        deadline_ms=10_000,
        gives_up_after_s=DAY_SECONDS,
        drops_s=DAY_SECONDS,
        known="the steps of its retries are not published; they grow up to about an hour",
    ),
    handshake=_handshake,
    heartbeat_seconds=8 * 3_600,
    # The content stands for the identity, but in it stands the time to the millisecond, so equal content is the same
    # event however late the retry; and it retries for a day.
    window_seconds=DAY_SECONDS,
)
