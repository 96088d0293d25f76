"""PayPal: payments, orders and subscriptions."""

import re
import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid
from posthouse.providers.certificates import certificate, rsa_verifies
from posthouse.providers.preset import DAY_SECONDS, Answers, Fetch, Preset, SenderRules
from posthouse.providers.reading import Field, Reader
from posthouse.providers.received import Received
from posthouse.providers.schemes import Encoding, Unit, check_time, decoded, no_match, required

_CERTIFICATE: Final = re.compile(
    r"https://api(?:-m)?(?:\.sandbox)?\.paypal\.com/v1/notifications/certs/CERT-[0-9A-Za-z-]+"
)
_HOSTS: Final = ("api.paypal.com", "api-m.paypal.com", "api.sandbox.paypal.com", "api-m.sandbox.paypal.com")
#: Whose certificates sign webhooks; PayPal's own libraries ask for the same.
_SUBJECT: Final = re.compile(r"messageverificationcerts(?:\.[a-z]+)?\.paypal\.com")


class PayPalSignature(msgspec.Struct, frozen=True):
    """An RSA signature over the transmission's id and time, the webhook's id, and the CRC-32 of the body.

    The secret is the webhook's id. It is no secret in truth: what proves the sender is the certificate's key.
    """

    #: Nobody says whether a repeated request is signed anew, and it repeats them for three days.
    tolerance_s: int = 3 * DAY_SECONDS + 3_600

    @property
    def has_secret(self) -> bool:
        """There is one: the webhook's id."""
        return True

    def needs(self, received: Received) -> Fetch | None:
        """The certificate, from PayPal's API and from nowhere else."""
        url = required(received, "PayPal-Cert-Url")
        if _CERTIFICATE.fullmatch(url) is None:
            raise SignatureInvalid(signature.NO_MATCH, "The header PayPal-Cert-Url is not of a certificate of PayPal.")
        return Fetch(url, _HOSTS)

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        from cryptography.x509 import NameOID  # noqa: PLC0415 - only loaded for who uses it

        if required(received, "PayPal-Auth-Algo") != "SHA256withRSA":
            raise SignatureInvalid(signature.MALFORMED_HEADER, "The header PayPal-Auth-Algo is not SHA256withRSA.")
        at = required(received, "PayPal-Transmission-Time")
        check_time(at, Unit.RFC3339, now_s=now_s, tolerance_s=self.tolerance_s)
        start = f"{required(received, 'PayPal-Transmission-Id')}|{at}|"
        given = decoded(required(received, "PayPal-Transmission-Sig"), Encoding.BASE64) or b""
        sender = certificate(fetched, now_s)
        names = [str(name.value) for name in sender.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if not any(_SUBJECT.fullmatch(name) for name in names):
            raise SignatureInvalid(signature.NO_MATCH, "The certificate is not of PayPal's webhooks.")
        messages = [f"{start}{secret}|{zlib.crc32(received.body)}".encode(errors="surrogatepass") for secret in secrets]
        if not any(rsa_verifies(sender, given, message, "SHA256") for message in messages):
            raise no_match()


PRESET: Final = Preset(
    name="paypal",
    title="PayPal",
    docs="https://developer.paypal.com/api/rest/webhooks/rest/",
    secret_help=("The webhook's id (17 letters and digits), beside its URL in the developer dashboard."),
    # It names none; ours is as long as it retries. A repeated event is known by its id.
    scheme=PayPalSignature(),
    read=Reader(
        type=(Field(("event_type",)),),
        identity=Field(("id",)),
        occurred_at=Field(("create_time",)),
        ordering_key=Field(("resource", "id")),
    ),
    answers=Answers(retry_after_s=None),
    sender=SenderRules(
        drops_s=3 * DAY_SECONDS, known="up to 25 retries over three days are documented; deadline and steps are assumed"
    ),
)
