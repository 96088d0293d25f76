"""HubSpot: customers and sales."""

import re
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid
from posthouse.providers.preset import Preset, Reading, SenderRules
from posthouse.providers.reading import Field, Joined, Reader, decode
from posthouse.providers.received import Received
from posthouse.providers.schemes import Alone, Encoding, Hmac, Unit

_HMAC: Final = Hmac(
    header="X-HubSpot-Signature-v3",
    signed="{method}{url}{body}{ts}",
    encoding=Encoding.BASE64,
    timestamp_header="X-HubSpot-Request-Timestamp",
    unit=Unit.MILLISECONDS,
    tolerance_s=300,
)
#: The characters that HubSpot signs as themselves even where its URL has them encoded.
_DECODED: Final = MappingProxyType({f"%{ord(character):02X}": character for character in ":/?@!$'()*,;"})
_ENCODED: Final = re.compile("|".join(_DECODED), re.IGNORECASE)


class UrlHmac(Alone, frozen=True):
    """HubSpot's third signature: over the method, the URL, the body and the time.

    HubSpot signs the URL with some of its characters decoded; both forms are taken.
    """

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        decoded = msgspec.structs.replace(received, url=_ENCODED.sub(_character, received.url))
        try:
            _HMAC.verify(decoded, secrets, now_s=now_s, fetched=fetched)
        except SignatureInvalid as error:
            if error.reason != signature.NO_MATCH or decoded.url == received.url:
                raise
            _HMAC.verify(received, secrets, now_s=now_s, fetched=fetched)


def _character(found: re.Match[str]) -> str:
    return _DECODED[found[0].upper()]


#: HubSpot does not promise that eventId alone is unique; these together are, and no retry changes them.
_IDENTITY: Final = ("eventId", "portalId", "subscriptionId", "objectId", "occurredAt")
_BATCH: Final = Reader(
    type=(Field(("subscriptionType",)),),
    identity=Joined(tuple(Field((key,)) for key in _IDENTITY)),
    occurred_at=Field(("occurredAt",)),
    unit=Unit.MILLISECONDS,
    ordering_key=Field(("objectId",)),
    items=(),
)
_ALONE: Final = msgspec.structs.replace(_BATCH, items=None)


def _read(received: Received, content: bytes) -> Reading:
    return (_BATCH if isinstance(decode(content), list) else _ALONE)(received, content)


PRESET: Final = Preset(
    name="hubspot",
    title="HubSpot",
    docs="https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation",
    secret_help="The client secret of the app, on its page Auth; this source needs to know the URL that HubSpot calls.",
    scheme=UrlHmac(),
    read=_read,
    sender=SenderRules(
        deadline_ms=5_000,
        drops_s=86_400,
        known="up to ten retries over 24 hours; their steps are not published",
    ),
)
