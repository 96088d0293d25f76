"""Standard Webhooks signatures: made and verified.

What is signed is ``{message id}.{timestamp}.{body}``. A secret is ``whsec_`` and base64 of 24..64
random bytes (HMAC-SHA256, scheme ``v1``) or ``whsk_`` and base64 of an ed25519 secret key (scheme
``v1a``); ``whpk_`` is a public key, which only verifies. The header ``webhook-signature`` carries
one signature per valid secret, so that a secret can be replaced without a gap.
"""

import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from posthouse.core.errors import InvalidInput, SignatureInvalid
from posthouse.core.limits import SIGNATURE_TOLERANCE_SECONDS, SIGNATURES_READ_MAX

if TYPE_CHECKING:
    from posthouse.core.ed25519 import SigningKey

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
_NAMES: Final = (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)

SECRET_BYTES_MIN: Final = 24
SECRET_BYTES_MAX: Final = 64

#: Why a signature is not valid: the values of :attr:`SignatureInvalid.reason`.
MISSING_HEADER: Final = "missing_header"
MALFORMED_HEADER: Final = "malformed_header"
MALFORMED_SECRET: Final = "malformed_secret"  # noqa: S105 - the name of a fault, no secret
TIMESTAMP_TOO_OLD: Final = "timestamp_too_old"
TIMESTAMP_TOO_NEW: Final = "timestamp_too_new"
NO_MATCH: Final = "no_match"

_SYMMETRIC: Final = "whsec_"
_PRIVATE: Final = "whsk_"
_PUBLIC: Final = "whpk_"
_V1: Final = b"v1"
_V1A: Final = b"v1a"
_PUBLIC_KEY_BYTES: Final = 32
_SECRET_CHARS_MAX: Final = 128
#: Visible ASCII without the full stop: a stop in the id could move the borders between the signed parts.
_MESSAGE_ID: Final = re.compile(r"[!-\-/-~]{1,256}")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")


def generate_secret(token: bytes) -> str:
    """The ``whsec_`` secret made of 24..64 random bytes."""
    if not SECRET_BYTES_MIN <= len(token) <= SECRET_BYTES_MAX:
        raise ValueError("A secret is made of 24 to 64 bytes.")
    return _SYMMETRIC + _base64(token)


def generate_signing_key(seed: bytes) -> str:
    """The ``whsk_`` secret key made of 32 random bytes."""
    return _PRIVATE + _base64(seed + _signing_key(seed).public_bytes)


def public_key(secret: str) -> str:
    """The ``whpk_`` public key of a ``whsk_`` secret key. Raises :class:`InvalidInput` for other secrets."""
    _, key = _parse_secret(secret)
    if isinstance(key, bytes):
        raise _refused("Only an ed25519 secret key (whsk_) has a public key.")
    return _PUBLIC + _base64(key.public_bytes)


def validate_secret(text: str) -> None:
    """Raise :class:`InvalidInput` unless ``text`` is a secret to sign with."""
    _parse_secret(text)


def validate_verifier(text: str) -> None:
    """Raise :class:`InvalidInput` unless ``text`` is a secret or a public key to verify with."""
    _parse_verifier(text)


def validate_message_id(text: str) -> None:
    """Raise :class:`InvalidInput` unless ``text`` can be signed as an id.

    That is 1..256 characters of visible ASCII without a full stop.
    """
    if _MESSAGE_ID.fullmatch(text) is None:
        raise InvalidInput.at(
            "id",
            "message_id",
            "A signed id has 1 to 256 visible ASCII characters and no full stop.",
            hint="Use letters, digits, hyphens and underscores.",
        )


class Signer:
    """Signs for one endpoint; made once, used for every attempt.

    Args:
        secrets: its valid secrets, the current one first; at least one. Raises :class:`InvalidInput`.
    """

    __slots__ = ("_asymmetric", "_symmetric")

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise _refused("At least one secret is needed to sign.")
        keys = [_parse_secret(secret)[1] for secret in secrets]
        self._symmetric = tuple(key for key in keys if isinstance(key, bytes))
        self._asymmetric = tuple(key for key in keys if not isinstance(key, bytes))

    def headers(self, message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
        """The three headers of one attempt that starts at ``timestamp_s`` (Unix seconds).

        Raises :class:`InvalidInput` for an id that :func:`validate_message_id` refuses.
        """
        if _MESSAGE_ID.fullmatch(message_id) is None:
            validate_message_id(message_id)
        timestamp = str(timestamp_s)
        signed = f"{message_id}.{timestamp}.".encode() + body
        signatures = ["v1," + _base64(hmac.digest(key, signed, "sha256")) for key in self._symmetric]
        signatures += ["v1a," + _base64(key.sign(signed)) for key in self._asymmetric]
        return {ID_HEADER: message_id, TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: " ".join(signatures)}


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: int,
    tolerance_s: int = SIGNATURE_TOLERANCE_SECONDS,
) -> None:
    """Return if any secret made any signature of this request.

    Args:
        secrets: ``whsec_``, ``whsk_`` or ``whpk_``; every one that may have signed.
        headers: of the request; names in any case.
        body: as it came, byte for byte.
        now_s: Unix seconds.
        tolerance_s: how far the timestamp may lie from ``now_s``, either way.

    Raises:
        SignatureInvalid: and nothing else, whatever the input; ``reason`` is one of this module's codes.
    """
    message_id, timestamp, signatures = _read_headers(headers)
    if int(timestamp) < now_s - tolerance_s:
        raise SignatureInvalid(TIMESTAMP_TOO_OLD, "The request's timestamp is too old.")
    if int(timestamp) > now_s + tolerance_s:
        raise SignatureInvalid(TIMESTAMP_TOO_NEW, "The request's timestamp lies in the future.")
    signed = f"{message_id}.{timestamp}.".encode() + body
    matches = False
    for secret in secrets:
        try:
            scheme, key = _parse_verifier(secret)
        except InvalidInput as error:
            raise SignatureInvalid(MALFORMED_SECRET, error.message) from error
        if scheme == _V1:
            expected = _base64(hmac.digest(key, signed, "sha256")).encode()
            for version, value in signatures:
                matches |= version == _V1 and hmac.compare_digest(expected, value)
        else:
            for version, value in signatures:
                matches |= version == _V1A and _verifies(key, value, signed)
    if not matches:
        raise SignatureInvalid(NO_MATCH, "No signature of the request matches a secret.")


def _read_headers(headers: Mapping[str, str]) -> tuple[str, str, list[tuple[bytes, bytes]]]:
    """The id, the timestamp and the (scheme, signature) pairs of a request."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower in _NAMES:
            if found.get(lower, value) != value:
                raise SignatureInvalid(MALFORMED_HEADER, f"The header {lower} is there twice.")
            found[lower] = value
    for name in _NAMES:
        if not found.get(name):
            raise SignatureInvalid(MISSING_HEADER, f"The header {name} is missing.")
    message_id, timestamp, signature = (found[name] for name in _NAMES)
    if _MESSAGE_ID.fullmatch(message_id) is None:
        raise SignatureInvalid(MALFORMED_HEADER, "The header webhook-id is malformed.")
    if _TIMESTAMP.fullmatch(timestamp) is None:
        raise SignatureInvalid(MALFORMED_HEADER, "The header webhook-timestamp is not a number of seconds.")
    pairs = [entry.partition(b",") for entry in signature.encode("ascii", "replace").split(b" ") if entry]
    if not pairs or len(pairs) > SIGNATURES_READ_MAX or not all(comma for _, comma, _ in pairs):
        raise SignatureInvalid(MALFORMED_HEADER, "The header webhook-signature is not a list of 'scheme,signature'.")
    return message_id, timestamp, [(scheme, value) for scheme, _, value in pairs]


def _parse_secret(text: str) -> "tuple[bytes, bytes | SigningKey]":
    """The scheme of a secret and the key to sign with: bytes for HMAC."""
    if text.startswith(_SYMMETRIC):
        key = _decode(text.removeprefix(_SYMMETRIC))
        if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
            raise _refused(f"A whsec_ secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, this has {len(key)}.")
        return _V1, key
    if text.startswith(_PRIVATE):
        return _V1A, _signing_key(_decode(text.removeprefix(_PRIVATE)))
    raise _refused("A secret starts with whsec_ (HMAC) or whsk_ (ed25519).")


def _parse_verifier(text: str) -> tuple[bytes, bytes]:
    """The scheme of a secret or public key and the key to verify with."""
    if text.startswith(_PUBLIC):
        raw = _decode(text.removeprefix(_PUBLIC))
        if len(raw) != _PUBLIC_KEY_BYTES:
            raise _refused(f"A whpk_ public key has {_PUBLIC_KEY_BYTES} bytes, this has {len(raw)}.")
        return _V1A, raw
    scheme, key = _parse_secret(text)
    return scheme, key if isinstance(key, bytes) else key.public_bytes


def _signing_key(raw: bytes) -> "SigningKey":
    from posthouse.core.ed25519 import SigningKey  # noqa: PLC0415 - cryptography is only loaded for who uses it

    try:
        return SigningKey(raw)
    except ValueError as error:
        raise _refused(str(error)) from error


def _verifies(key: bytes, value: bytes, signed: bytes) -> bool:
    from posthouse.core.ed25519 import verifies  # noqa: PLC0415 - cryptography is only loaded for who uses it

    try:
        signature = binascii.a2b_base64(value, strict_mode=True)
    except binascii.Error:
        return False
    return verifies(key, signature, signed)


def _base64(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).decode()


def _decode(text: str) -> bytes:
    """The bytes of base64 text, padded or not."""
    if text.isascii() and len(text) <= _SECRET_CHARS_MAX:
        try:
            return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
        except binascii.Error:
            pass
    raise _refused("What follows the prefix of a secret is base64.")


def _refused(message: str) -> InvalidInput:
    return InvalidInput.at("secret", "secret", message, hint="Leave the secret out to have one made.")
