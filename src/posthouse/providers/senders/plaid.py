"""Plaid: accounts and transactions at banks.

Plaid signs with a key of its own and hands out the public one only to who names a client id and its secret, so it
cannot be fetched by its URL alone: what the user gives as the secret is that key, as Plaid answers it.
"""

import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid
from posthouse.providers.preset import BODY_WINDOW_SECONDS, DAY_SECONDS, Again, Answers, Preset, SenderRules
from posthouse.providers.reading import Field, Reader, decode
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.schemes import Alone, Unit, check_time, no_match, required

_HEADER: Final = "Plaid-Verification"
_URL_BASE64: Final = re.compile(r"[0-9A-Za-z_-]+")
_COORDINATE_BYTES: Final = 32  # of P-256


class _Key(msgspec.Struct, frozen=True):
    """A JSON Web Key of P-256."""

    x: str
    y: str
    kid: str
    expired_at: int | None = None  #: Unix seconds, since which it does not count; None: it does


class _Answer(msgspec.Struct, frozen=True):
    """What ``/webhook_verification_key/get`` answers."""

    key: _Key


class PlaidSignature(Alone, frozen=True):
    """A JSON Web Token (ES256) that names its key and carries a digest of the body."""

    tolerance_s: int = 300

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        del fetched
        head, claims, given, signed = _token(required(received, _HEADER))
        if head.get("alg") != "ES256":  # of another algorithm the key might mean something else
            raise _malformed()
        issued_at = claims.get("iat")
        if isinstance(issued_at, bool) or not isinstance(issued_at, int):
            raise _malformed()
        keys = [key for key in map(_key, secrets) if key.kid == head.get("kid") and _counts(key, now_s)]
        # No key that counts is left out, so that the time it takes says nothing.
        if not any([_verifies(key, given, signed) for key in keys]):  # noqa: C419
            raise no_match()
        check_time(str(issued_at), Unit.SECONDS, now_s=now_s, tolerance_s=self.tolerance_s)
        digest = str(claims.get("request_body_sha256"))
        if not hmac.compare_digest(digest.encode(), hashlib.sha256(received.body).hexdigest().encode()):
            raise SignatureInvalid(signature.NO_MATCH, "The body is not the one that the token was made for.")


def _token(text: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Header, claims and signature of a token, and what is signed. Raises SignatureInvalid."""
    head, claims, given, *more = [*text.split("."), "", ""]
    if more != ["", ""] or not all(_URL_BASE64.fullmatch(part) for part in (head, claims, given)):
        raise _malformed()
    try:
        first, second, made = (_bytes(part) for part in (head, claims, given))
        found = decode(first), decode(second)
    except (ValueError, Unreadable) as error:
        raise _malformed() from error
    if not isinstance(found[0], dict) or not isinstance(found[1], dict):
        raise _malformed()
    return found[0], found[1], made, f"{head}.{claims}".encode()


def _bytes(text: str) -> bytes:
    """What stands in URL-safe base64 without padding. Raises ValueError."""
    return binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), strict_mode=True)


def _key(secret: str) -> _Key:
    """The key in a secret, perhaps in the whole answer that brought it. Raises SignatureInvalid."""
    try:
        found = msgspec.json.decode(secret.encode(), type=dict[str, msgspec.Raw])
        return (
            msgspec.json.decode(secret, type=_Answer).key if "key" in found else msgspec.json.decode(secret, type=_Key)
        )
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SignatureInvalid(signature.MALFORMED_SECRET, "A secret is not a key as Plaid answers it.") from error


def _counts(key: _Key, now_s: int) -> bool:
    return key.expired_at is None or now_s < key.expired_at


def _verifies(key: _Key, given: bytes, message: bytes) -> bool:
    """Whether ``given``, two numbers of 32 bytes, is the signature of ``message``. Raises SignatureInvalid."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - only loaded for who uses it
    from cryptography.hazmat.primitives.asymmetric import ec, utils  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

    try:
        x, y = (int.from_bytes(_bytes(part), "big") for part in (key.x, key.y))
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError as error:
        raise SignatureInvalid(signature.MALFORMED_SECRET, "A secret is not a key of the curve P-256.") from error
    if len(given) != 2 * _COORDINATE_BYTES:
        return False
    r, s = (int.from_bytes(part, "big") for part in (given[:_COORDINATE_BYTES], given[_COORDINATE_BYTES:]))
    try:
        public.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _malformed() -> SignatureInvalid:
    return SignatureInvalid(signature.MALFORMED_HEADER, f"The header {_HEADER} is not a token signed with ES256.")


PRESET: Final = Preset(
    name="plaid",
    title="Plaid",
    docs="https://plaid.com/docs/api/webhooks/webhook-verification/",
    secret_help=(
        "The JSON that POST /webhook_verification_key/get answers for the kid in a Plaid-Verification header."
    ),
    scheme=PlaidSignature(),
    read=Reader(
        type=(Field(("webhook_type",)), Field(("webhook_code",))),
        occurred_at=Field(("timestamp",)),
        ordering_key=Field(("item_id",)),
    ),
    answers=Answers(retry_after_s=None),
    sender=SenderRules(
        deadline_ms=10_000,
        again=Again.UNLESS_LISTED,
        listed=frozenset({200}),
        delays_s=(30, 120, 480, 1_920, 7_680, 30_720),
        drops_s=DAY_SECONDS,
        known="documented; nothing is repeated while over 90% of a day's webhooks are refused",
    ),
    window_seconds=BODY_WINDOW_SECONDS,
)
