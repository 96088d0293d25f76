"""The ways in which most senders prove who they are, as data: which header, which digest, what is signed.

Every scheme takes the body byte for byte as it came, compares in constant time, and tries every secret that may be in
use on every signature that came.
"""

import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import msgspec

from posthouse.core import signature
from posthouse.core.errors import InvalidInput, SignatureInvalid
from posthouse.core.limits import SIGNATURES_READ_MAX
from posthouse.core.time_format import parse_rfc3339
from posthouse.providers.preset import Fetch
from posthouse.providers.received import Received

_MS: Final = 1_000
_TIMESTAMP: Final = re.compile(r"[0-9]{1,16}")
_SIGNED_PART: Final = re.compile(r"\{(body|ts|id|url|method)\}")


class Encoding(StrEnum):
    """How bytes are written as text."""

    HEX = "hex"
    BASE64 = "base64"
    UTF8 = "utf8"  #: the text itself; of secrets only
    WHSEC = "whsec"  #: base64, perhaps behind ``whsec_``; of secrets only


class Unit(StrEnum):
    """How a time is written."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    RFC3339 = "rfc3339"


class Alone(msgspec.Struct, frozen=True):
    """A scheme that needs no more than the request and the secrets."""

    @property
    def has_secret(self) -> bool:
        """There is one."""
        return True

    def needs(self, _: Received) -> Fetch | None:
        """Nothing."""
        return None


class Hmac(Alone, frozen=True, kw_only=True):
    """An HMAC in a header, over a text in which the body stands."""

    header: str
    prefix: str = ""  #: before the signature, as in ``sha256=…``; a value without it is malformed
    #: Where the header is a list of pairs (``t=…,v1=…``): the key of the signatures, which may stand several times.
    signature_key: str | None = None
    timestamp_key: str | None = None  #: the key of the time in that list
    separator: str = ","  #: between the pairs
    signed: str = "{body}"  #: with ``{body}``, ``{ts}``, ``{id}``, ``{url}`` and ``{method}``
    algorithm: str = "sha256"
    encoding: Encoding = Encoding.HEX
    secret: Encoding = Encoding.UTF8
    timestamp_header: str | None = None
    unit: Unit = Unit.SECONDS
    tolerance_s: int | None = None  #: how far the time may lie from now, either way; None: it is not checked
    id_header: str | None = None

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        del fetched
        found, timestamp = self._read(received)
        if self.timestamp_header is not None:
            timestamp = required(received, self.timestamp_header)
        if self.tolerance_s is not None:
            check_time(timestamp, self.unit, now_s=now_s, tolerance_s=self.tolerance_s)
        message = self._message(received, timestamp)
        check_digests(
            found, secrets, message, algorithm=self.algorithm, encoding=self.encoding, secret_encoding=self.secret
        )

    def _read(self, received: Received) -> tuple[list[str], str | None]:
        """The signatures of the header, and the time that stands among them."""
        values = received.every(self.header)
        if not values:
            raise SignatureInvalid(signature.MISSING_HEADER, f"The header {self.header} is missing.")
        if self.signature_key is None and len(values) == 1 and values[0].startswith(self.prefix):
            return [values[0][len(self.prefix) :]], None  # what most senders send
        found: list[str] = []
        timestamp = None
        for value in values:
            if self.signature_key is None:
                if not value.startswith(self.prefix):
                    raise _malformed(self.header)
                found.append(value[len(self.prefix) :])
                continue
            pairs = [pair.strip().partition("=") for pair in value.split(self.separator)]
            found += [text for key, _, text in pairs if key == self.signature_key]
            timestamp = next((text for key, _, text in pairs if key == self.timestamp_key), timestamp)
        if not 1 <= len(found) <= SIGNATURES_READ_MAX:
            raise _malformed(self.header)
        if self.timestamp_key is not None and timestamp is None:
            raise _malformed(self.header)
        return found, timestamp

    def _message(self, received: Received, timestamp: str | None) -> bytes:
        """What is signed, with the time as it is written."""
        if self.signed == "{body}":
            return received.body
        texts = _SIGNED_PART.split(self.signed)
        return b"".join(
            self._part(text, received, timestamp) if at % 2 else text.encode() for at, text in enumerate(texts)
        )

    def _part(self, name: str, received: Received, timestamp: str | None) -> bytes:
        match name:
            case "body":
                return received.body
            case "ts":
                return as_bytes(timestamp or "")
            case "id":
                return as_bytes(required(received, self.id_header or ""))
            case "url":
                return as_bytes(received.url)
            case _:
                return as_bytes(received.method)


class Token(Alone, frozen=True, kw_only=True):
    """The secret itself in a header. It proves less than a signature: whoever reads one request can make others."""

    header: str
    prefix: str = ""

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        del now_s, fetched
        given = as_bytes(required(received, self.header))
        if not all(secrets):
            raise SignatureInvalid(signature.MALFORMED_SECRET, "A secret is empty.")
        expected = [as_bytes(self.prefix + secret) for secret in secrets]
        if not any([hmac.compare_digest(given, each) for each in expected]):  # noqa: C419 - each is compared
            raise no_match()


class Basic(Alone, frozen=True):
    """``Authorization: Basic``; the secret is ``name:password``."""

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        encoded = [binascii.b2a_base64(as_bytes(secret), newline=False).decode() for secret in secrets]
        Token(header="Authorization", prefix="Basic ").verify(received, encoded, now_s=now_s, fetched=fetched)


class Ed25519(Alone, frozen=True, kw_only=True):
    """An ed25519 signature in hex or base64 over the time and the body; the secret is the sender's public key."""

    header: str
    timestamp_header: str
    separator: str = ""  #: between the time and the body
    encoding: Encoding = Encoding.HEX
    key: Encoding = Encoding.HEX
    tolerance_s: int

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        from posthouse.core.ed25519 import verifies  # noqa: PLC0415 - cryptography is only loaded for who uses it

        del fetched
        timestamp = required(received, self.timestamp_header)
        check_time(timestamp, Unit.SECONDS, now_s=now_s, tolerance_s=self.tolerance_s)
        given = decoded(required(received, self.header), self.encoding)
        message = as_bytes(f"{timestamp}{self.separator}") + received.body
        keys = [secret_bytes(secret, self.key) for secret in secrets]
        if given is None or not any(verifies(key, given, message) for key in keys):
            raise no_match()


class StandardWebhooks(Alone, frozen=True, kw_only=True):
    """Standard Webhooks, perhaps with other names of the three headers; the secret is ``whsec_…`` or ``whpk_…``."""

    prefix: str = "webhook"
    tolerance_s: int = 300

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        del fetched
        names = (signature.ID_HEADER, signature.TIMESTAMP_HEADER, signature.SIGNATURE_HEADER)
        headers = {name: required(received, name.replace("webhook", self.prefix, 1)) for name in names}
        signature.verify(secrets, headers, received.body, now_s=now_s, tolerance_s=self.tolerance_s)


class Unproven(msgspec.Struct, frozen=True):
    """The sender proves nothing: whoever knows the URL can send."""

    @property
    def has_secret(self) -> bool:
        """There is none."""
        return False

    def needs(self, _: Received) -> Fetch | None:
        """Nothing."""
        return None

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """There is nothing to check."""


# -- parts of schemes ---------------------------------------------------------------------------


def required(received: Received, name: str) -> str:
    """The one value of a header. Raises SignatureInvalid if it is missing, or there with different values."""
    value = received.header(name)
    if value is None:
        is_there = bool(received.every(name))
        reason = signature.MALFORMED_HEADER if is_there else signature.MISSING_HEADER
        said = "is there with different values" if is_there else "is missing"
        raise SignatureInvalid(reason, f"The header {name} {said}.")
    return value


def check_time(text: str | None, unit: Unit, *, now_s: int, tolerance_s: int) -> None:
    """Raise SignatureInvalid unless the time ``text`` lies within ``tolerance_s`` of ``now_s``."""
    at_s = _seconds(text or "", unit)
    if at_s < now_s - tolerance_s:
        raise SignatureInvalid(signature.TIMESTAMP_TOO_OLD, "The request's timestamp is too old.")
    if at_s > now_s + tolerance_s:
        raise SignatureInvalid(signature.TIMESTAMP_TOO_NEW, "The request's timestamp lies in the future.")


def check_digests(
    given: Sequence[str],
    secrets: Sequence[str],
    message: bytes,
    *,
    algorithm: str = "sha256",
    encoding: Encoding = Encoding.HEX,
    secret_encoding: Encoding = Encoding.UTF8,
) -> None:
    """Raise SignatureInvalid unless one of ``given`` is the HMAC of ``message`` with one of ``secrets``."""
    digests = [digest for text in given if (digest := decoded(text, encoding)) is not None]
    matches = False
    for secret in secrets:
        expected = hmac.digest(secret_bytes(secret, secret_encoding), message, algorithm)
        for digest in digests:
            matches |= hmac.compare_digest(expected, digest)
    if not matches:
        raise no_match()


def as_bytes(text: str) -> bytes:
    """A text in UTF-8, whatever it holds."""
    return text.encode(errors="surrogatepass")


def secret_bytes(text: str, encoding: Encoding) -> bytes:
    """A secret as the provider shows it, in bytes. Raises SignatureInvalid."""
    found = as_bytes(text) if encoding is Encoding.UTF8 else decoded(text.removeprefix("whsec_"), encoding)
    if not found:
        raise SignatureInvalid(signature.MALFORMED_SECRET, f"A secret is not {_SAID[encoding]}.")
    return found


def decoded(text: str, encoding: Encoding) -> bytes | None:
    """The bytes that ``text`` stands for, in hex (of either case) or base64 (padded or not); None if it is neither."""
    try:
        if encoding is Encoding.HEX:
            return binascii.a2b_hex(text)
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:  # binascii.Error, and characters outside ASCII
        return None


def no_match() -> SignatureInvalid:
    """No signature fits any secret."""
    return SignatureInvalid(signature.NO_MATCH, "No signature of the request matches a secret.")


def _malformed(header: str) -> SignatureInvalid:
    return SignatureInvalid(signature.MALFORMED_HEADER, f"The header {header} is malformed.")


def _seconds(text: str, unit: Unit) -> int:
    if unit is Unit.RFC3339:
        try:
            return parse_rfc3339(text) // _MS
        except InvalidInput:
            pass
    elif _TIMESTAMP.fullmatch(text) is not None:
        return int(text) // (_MS if unit is Unit.MILLISECONDS else 1)
    raise SignatureInvalid(signature.MALFORMED_HEADER, "The request's timestamp is malformed.")


_SAID: Final[Mapping[Encoding, str]] = MappingProxyType(
    {
        Encoding.HEX: "hexadecimal",
        Encoding.BASE64: "base64",
        Encoding.WHSEC: "base64 behind whsec_",
        Encoding.UTF8: "a text",
    }
)


@lru_cache(maxsize=256)
def any_host(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """What matches a host, with its port where it has one, that one of ``patterns`` allows.

    A ``*`` stands for a label or a part of one: letters and digits, and no full stop.
    """
    return re.compile("|".join(re.escape(pattern).replace(r"\*", "[a-z0-9]{1,32}") for pattern in patterns))
