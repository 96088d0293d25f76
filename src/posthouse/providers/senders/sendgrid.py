"""SendGrid: what became of mails, from its Event Webhook."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid
from posthouse.providers.preset import DAY_SECONDS, Answers, Preset, SenderRules
from posthouse.providers.reading import Field, Reader
from posthouse.providers.received import Received
from posthouse.providers.schemes import Alone, Encoding, Unit, check_time, decoded, no_match, required

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

_HEADER: Final = "X-Twilio-Email-Event-Webhook-"
#: Nobody says whether a repeated request is signed anew, and it repeats them for a day.
_TOLERANCE_S: Final = DAY_SECONDS + 3_600


class SendGridSignature(Alone, frozen=True):
    """An ECDSA signature over the time and the body; the secret is the public key of the webhook."""

    tolerance_s: int = _TOLERANCE_S

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - only loaded for who uses it
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA  # noqa: PLC0415
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

        del fetched
        timestamp = required(received, f"{_HEADER}Timestamp")
        check_time(timestamp, Unit.SECONDS, now_s=now_s, tolerance_s=self.tolerance_s)
        given = decoded(required(received, f"{_HEADER}Signature"), Encoding.BASE64) or b""
        for key in [_public_key(secret) for secret in secrets]:
            try:
                key.verify(given, timestamp.encode() + received.body, ECDSA(SHA256()))
            except InvalidSignature:
                continue
            return
        raise no_match()


def _public_key(secret: str) -> "EllipticCurvePublicKey":
    """The key in base64, perhaps between the lines of a PEM file. Raises SignatureInvalid."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - only loaded for who uses it
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_der_public_key  # noqa: PLC0415

    text = "".join(line.strip() for line in secret.splitlines() if not line.startswith("-----"))
    try:
        key = load_der_public_key(decoded(text, Encoding.BASE64) or b"")
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey):
        raise SignatureInvalid(signature.MALFORMED_SECRET, "A secret is not an ECDSA public key in base64.")
    return key


PRESET: Final = Preset(
    name="sendgrid",
    title="SendGrid",
    docs="https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features",
    secret_help=("The webhook's verification key under Settings, Mail Settings, Event Webhook (MFkw…)."),
    # It names none; ours is as long as it retries. A repeated event is known by its id.
    scheme=SendGridSignature(),
    read=Reader(
        type=(Field(("event",)),),
        identity=Field(("sg_event_id",)),
        occurred_at=Field(("timestamp",)),
        unit=Unit.SECONDS,
        ordering_key=Field(("sg_message_id",)),
        items=(),
    ),
    answers=Answers(retry_after_s=None),
    sender=SenderRules(drops_s=DAY_SECONDS, known="it retries for a day; deadline and steps are assumed"),
)
