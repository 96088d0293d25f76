"""Verifying what arrives, from whichever sender: the public door to the presets, with no server behind it."""

import time
from collections.abc import Iterable, Mapping, Sequence

from posthouse.core.errors import InvalidInput, SignatureInvalid
from posthouse.providers.index import preset_named
from posthouse.providers.preset import Fetch, Preset, Reading
from posthouse.providers.received import Received, Unreadable, content

__all__ = ["InvalidInput", "Reading", "SignatureInvalid", "Unreadable", "document", "verify"]

_MS = 1_000

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


def verify(
    provider: str | Preset,
    headers: Headers,
    body: bytes,
    secret: str | Sequence[str],
    *,
    url: str = "",
    method: str = "POST",
    now: float | None = None,
    fetched: bytes | None = None,
) -> Reading:
    """What a request holds, if its sender proves that it knows a secret of yours.

    Args:
        provider: name of a preset, such as ``stripe``; or one of your own.
        headers: of the request; names in any case. Pairs, where a header may stand several times.
        body: byte for byte as it came.
        secret: as the provider shows it; several, while one replaces another.
        url: by which the sender called you, with the query: some senders sign it.
        method: of the request.
        now: Unix seconds; None: this machine's clock.
        fetched: the document that :func:`document` names, for senders whose signature needs one.

    Raises:
        SignatureInvalid: nobody who knows a secret sent this very request, or too long ago; ``reason`` says which.
        Unreadable: it is genuine, and holds nothing that can be made out.
        InvalidInput: there is no preset of this name.
    """
    preset = preset_named(provider) if isinstance(provider, str) else provider
    at_s = time.time() if now is None else now
    received = _received(headers, body, url=url, method=method, at_ms=int(at_s * _MS))
    secrets = [secret] if isinstance(secret, str) else list(secret)
    preset.scheme.verify(received, secrets, now_s=int(at_s), fetched=fetched)
    return preset.read(received, content(received))


def document(provider: str | Preset, headers: Headers, body: bytes, *, url: str = "") -> Fetch | None:
    """The document to fetch before a request can be verified, if its sender signs with a key that stands elsewhere.

    Fetch it over https from one of its ``hosts`` only, without following redirects: the URL comes from the request.

    Raises SignatureInvalid if the request names none that may be fetched, and InvalidInput as :func:`verify` does.
    """
    preset = preset_named(provider) if isinstance(provider, str) else provider
    return preset.scheme.needs(_received(headers, body, url=url, method="POST", at_ms=0))


def _received(headers: Headers, body: bytes, *, url: str, method: str, at_ms: int) -> Received:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return Received.of(method, url, pairs, body, at_ms)
