"""Amazon SNS: the messages of a topic.

Every message is signed with a key of Amazon's, so a genuine one may still be of a stranger's topic: what the user
gives as the secret is the ARN of the topic that may send here.
"""

import hmac
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid
from posthouse.providers.certificates import certificate, rsa_verifies
from posthouse.providers.preset import Again, Answers, Fetch, Preset, SenderRules
from posthouse.providers.reading import Field, Reader, decode
from posthouse.providers.received import Received, Unreadable, content
from posthouse.providers.schemes import Encoding, Unit, as_bytes, check_time, decoded, no_match

#: A region has the form of ``eu-west-1``: the host of a bucket named sns, ``sns.s3.amazonaws.com``, must not count.
_CERTIFICATE: Final = re.compile(
    r"https://sns\.[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?/SimpleNotificationService-[0-9A-Za-z]+\.pem"
)
_BODY_BYTES_MAX: Final = 1 << 20  #: a message has at most 256 KiB
_DIGESTS: Final = {"1": "SHA1", "2": "SHA256"}
_NOTIFICATION: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED: Final = {
    "Notification": _NOTIFICATION,
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}


class SnsSignature(msgspec.Struct, frozen=True):
    """An RSA signature in the body over some of its fields, and the name of the certificate that it fits."""

    tolerance_s: int = 7_200  #: a message keeps its time while it is sent again, which ends after an hour

    @property
    def has_secret(self) -> bool:
        """There is one: the topic's ARN."""
        return True

    def needs(self, received: Received) -> Fetch | None:
        """The certificate, from the host of SNS in a region and from nowhere else."""
        url = _text(_message(received), "SigningCertURL")
        if _CERTIFICATE.fullmatch(url) is None:
            raise SignatureInvalid(signature.NO_MATCH, "SigningCertURL is not of a certificate of Amazon SNS.")
        return Fetch(url, (url.split("/")[2],))

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        message = _message(received)
        digest = _DIGESTS.get(_text(message, "SignatureVersion"))
        names = _SIGNED.get(_text(message, "Type"))
        if digest is None or names is None:
            raise SignatureInvalid(signature.MALFORMED_HEADER, "Messages of this Type or SignatureVersion are unknown.")
        check_time(_text(message, "Timestamp"), Unit.RFC3339, now_s=now_s, tolerance_s=self.tolerance_s)
        arn = _text(message, "TopicArn").encode()
        if not any([hmac.compare_digest(arn, as_bytes(secret)) for secret in secrets]):  # noqa: C419 - each is compared
            raise SignatureInvalid(signature.NO_MATCH, "The message is of another topic.")
        # A subject is only signed where there is one.
        signed = [name for name in names if name != "Subject" or message.get(name) is not None]
        text = "".join(f"{name}\n{_text(message, name)}\n" for name in signed)
        given = decoded(_text(message, "Signature"), Encoding.BASE64)
        if given is None or not rsa_verifies(certificate(fetched, now_s), given, text.encode(), digest):
            raise no_match()


def _message(received: Received) -> dict[str, Any]:
    try:
        found = decode(content(received, bytes_max=_BODY_BYTES_MAX))
    except Unreadable as error:
        raise SignatureInvalid(signature.MALFORMED_HEADER, str(error)) from error
    if not isinstance(found, dict):
        raise SignatureInvalid(signature.MALFORMED_HEADER, "The body is not a message of Amazon SNS.")
    return found


def _text(message: dict[str, Any], name: str) -> str:
    found = message.get(name)
    if not isinstance(found, str):
        raise SignatureInvalid(signature.MISSING_HEADER, f"The message has no text named {name}.")
    return found


PRESET: Final = Preset(
    name="aws-sns",
    title="Amazon SNS",
    docs="https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html",
    secret_help=("The ARN of the topic that may send here (arn:aws:sns:…); Amazon signs every topic's messages."),
    # It names none; ours is longer than the hour for which a message can be sent again.
    scheme=SnsSignature(),
    # A SubscriptionConfirmation is an event as well: somebody must fetch its SubscribeURL.
    read=Reader(type=(Field(("Type",)),), identity=Field(("MessageId",)), occurred_at=Field(("Timestamp",))),
    answers=Answers(retry_after_s=None),
    sender=SenderRules(
        deadline_ms=15_000,
        again=Again.LISTED,
        listed=frozenset({429, *range(500, 600)}),
        delays_s=(20, 20, 20),
        drops_s=60,
        known="its default policy, which a subscription may stretch to an hour",
    ),
)
