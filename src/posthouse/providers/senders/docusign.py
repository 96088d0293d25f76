"""DocuSign: Connect, in its JSON SIM format."""

import re
from collections.abc import Sequence
from typing import Final

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid
from posthouse.providers.preset import Preset, SenderRules
from posthouse.providers.reading import Field, Joined, Reader
from posthouse.providers.received import Received
from posthouse.providers.schemes import Alone, Encoding, check_digests

_SIGNATURE: Final = re.compile(r"x-docusign-signature-[0-9]{1,3}", re.IGNORECASE)
_SIGNATURES_MAX: Final = 100  #: as many keys as an account can have


class NumberedHmac(Alone, frozen=True):
    """An HMAC of the body for each key of the account, each in a header of its own, numbered from 1."""

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        del now_s, fetched
        given = [value for name, value in received.headers if _SIGNATURE.fullmatch(name)]
        if not given:
            raise SignatureInvalid(signature.MISSING_HEADER, "The header X-DocuSign-Signature-1 is missing.")
        if len(given) > _SIGNATURES_MAX:
            raise SignatureInvalid(signature.MALFORMED_HEADER, "There are too many headers X-DocuSign-Signature-n.")
        check_digests(given, secrets, received.body, encoding=Encoding.BASE64)


PRESET: Final = Preset(
    name="docusign",
    title="DocuSign",
    docs="https://developers.docusign.com/platform/webhooks/connect/",
    secret_help="A key of the page Connect > Connect Keys; the configuration must include the HMAC signature.",
    scheme=NumberedHmac(),
    # DocuSign gives no id, and its body counts the retries: so what else is in it stands for the event.
    read=Reader(
        type=(Field(("event",)),),
        identity=Joined(
            (
                Field(("event",)),
                Field(("configurationId",)),
                Field(("data", "envelopeId")),
                Field(("data", "recipientId")),
                Field(("generatedDateTime",)),
            )
        ),
        occurred_at=Field(("generatedDateTime",)),
        ordering_key=Field(("data", "envelopeId")),
    ),
    sender=SenderRules(
        deadline_ms=5_000,
        known="its deadline, its retries and that they keep generatedDateTime are assumed; 5 s is its advice",
    ),
)
