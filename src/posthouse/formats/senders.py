"""The shapes of other senders, so that Posthouse can play them for those who receive from them.

The data of an event is the event as that system writes it; the format adds what stands around it: the list, the
headers, the signature, with the secret as text. One signature has room in their headers: that of the current secret.
"""

import hmac
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from posthouse.core.rules import Batch
from posthouse.core.signature import Signer
from posthouse.formats.form import Form, Handshake, Item, Made

_ID_BYTES: Final = 7
_JSON: Final = {"Content-Type": "application/json"}
_MS: Final = 1_000
_ASANA_SECRET: Final = "X-Hook-Secret"  # noqa: S105 - the name of a header, no secret
_ASANA_GOOD: Final = frozenset({200, 204})


def gocardless(items: Sequence[Item], secrets: Sequence[str], _: int) -> Made:
    """Up to 250 events, and the id of the webhook, which is the same whenever the same events are sent together."""
    ids = "\n".join(event.id for event, _data in items)
    webhook = "WB" + blake2b(ids.encode(), digest_size=_ID_BYTES).hexdigest().upper()
    body = b'{"events":%b,"meta":{"webhook_id":"%b"}}' % (_list(items), webhook.encode())
    return Made({**_JSON, "Webhook-Signature": _hex(secrets, body)}, body)


def asana(items: Sequence[Item], secrets: Sequence[str], _: int) -> Made:
    """Compact events without ids."""
    body = b'{"events":%b}' % _list(items)
    return Made({**_JSON, "X-Hook-Signature": _hex(secrets, body)}, body)


def asana_handshake(secrets: Sequence[str], _: int) -> Made:
    """The secret, which the receiver learns by this, and nothing that is signed."""
    return Made({**_JSON, _ASANA_SECRET: secrets[0]}, b"{}")


def asana_agrees(sent: Made, status: int | None, headers: Sequence[tuple[str, str]]) -> bool:
    """Whether the receiver sends the secret back, once."""
    echoed = [value for name, value in headers if name.lower() == _ASANA_SECRET.lower()]
    return status in _ASANA_GOOD and echoed == [sent.headers[_ASANA_SECRET]]


def asana_heartbeat(secrets: Sequence[str], now: int) -> Made:
    """No events, signed as any are."""
    return asana((), secrets, now)


def boldpenguin(items: Sequence[Item], secrets: Sequence[str], _: int) -> Made:
    """One event, whose subject and action stand in a header."""
    ((event, data),) = items
    return Made({**_JSON, "X-Emperor-Event": event.type, "X-Signature": _hex(secrets, data)}, data)


def procore(items: Sequence[Item], _: Sequence[str], __: int) -> Made:
    """One event, and no signature: its receivers know it by a header that the endpoint sets."""
    ((_event, data),) = items
    return Made({**_JSON}, data)


def raw(items: Sequence[Item], secrets: Sequence[str], now: int) -> Made:
    """The data alone, signed as Standard Webhooks says."""
    ((event, data),) = items
    return Made({**_JSON, **Signer(secrets).headers(event.id, now // _MS, data)}, data)


def _list(items: Sequence[Item]) -> bytes:
    return b"[%b]" % b",".join(data for _event, data in items)


def _hex(secrets: Sequence[str], body: bytes) -> str:
    return hmac.digest(secrets[0].encode(), body, "sha256").hex()


RAW: Final = Form(make=raw)
GOCARDLESS: Final = Form(
    make=gocardless,
    is_list=True,
    retry="custom:1m,2m,10m,30m,1h,3h,8h,1d",
    timeout_ms=10_000,
    batch=Batch(max_events=250),
)
ASANA: Final = Form(
    make=asana,
    handshake=Handshake(make=asana_handshake, is_answered=asana_agrees),
    heartbeat=asana_heartbeat,
    heartbeat_seconds=8 * 3_600,
    is_list=True,
    retry="custom:10s,30s,1m,2m,5m,10m,20m,30m" + ",1h" * 22,  # a day in all
    timeout_ms=10_000,
    batch=Batch(max_events=100),
    success="200,204",
)
BOLDPENGUIN: Final = Form(make=boldpenguin)
PROCORE: Final = Form(
    make=procore,
    retry="custom:1s,2s,4s,8s,16s,32s,64s,128s,256s,512s,1024s,2048s" + ",1h" * 10,  # nearly twelve hours
    timeout_ms=5_000,
)
