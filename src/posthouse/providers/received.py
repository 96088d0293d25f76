"""One request as it came in: what presets look at."""

import zlib
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from posthouse.core.head import head_of, headers_of, values_of

CONTENT_BYTES_MAX: Final = 16 << 20  #: of a body, decompressed
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB_OR_GZIP: Final = 32 + zlib.MAX_WBITS
_WINDOWS: Final = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB_OR_GZIP}


class Unreadable(Exception):
    """What a request holds cannot be made out. Its text says why, in one sentence without secrets."""


class Received(msgspec.Struct, frozen=True, gc=False):
    """One request."""

    method: str
    url: str  #: by which the sender calls this source, with the query: some senders sign it
    head: str  #: its headers as they came (core.head)
    body: bytes  #: as it came, byte for byte, perhaps compressed
    at: int  #: when it came, Unix ms

    @classmethod
    def of(cls, method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes, at: int) -> "Received":
        """A request with these headers; their names in any case."""
        return cls(method, url, head_of(headers), body, at)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """All headers in their order; names in lower case."""
        return headers_of(self.head)

    def every(self, name: str) -> list[str]:
        """All values of a header, in their order."""
        return values_of(self.head, name)

    def header(self, name: str) -> str | None:
        """The value of a header; None if it is not there, or there with different values."""
        values = set(self.every(name))
        return values.pop() if len(values) == 1 else None

    def parameter(self, name: str) -> str | None:
        """The first value of a parameter of the query."""
        query = parse_qsl(self.url.partition("#")[0].partition("?")[2], keep_blank_values=True)
        return next((value for key, value in query if key == name), None)


def content(received: Received, *, bytes_max: int = CONTENT_BYTES_MAX) -> bytes:
    """The body, decompressed as its Content-Encoding says (gzip and deflate, also several times).

    Raises Unreadable: it is not what it says, or more than ``bytes_max`` bytes; no more than those are ever made.
    """
    body = received.body
    codings = [part.strip().lower() for value in received.every("content-encoding") for part in value.split(",")]
    for coding in reversed(codings):
        if coding not in {"", "identity"}:
            body = _inflate(body, coding, bytes_max)
    if len(body) > bytes_max:
        raise Unreadable(f"The body has more than {bytes_max:,} bytes.")
    return body


def _inflate(body: bytes, coding: str, bytes_max: int) -> bytes:
    window = _WINDOWS.get(coding)
    if window is None:
        raise Unreadable("Of the content codings only gzip and deflate can be read.")
    stream = zlib.decompressobj(window)
    try:
        found = stream.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise Unreadable(f"The body is not {coding}, as its Content-Encoding says.") from error
    if len(found) > bytes_max:
        raise Unreadable(f"The body has more than {bytes_max:,} bytes when it is decompressed.")
    if not stream.eof or stream.unused_data:
        raise Unreadable(f"The body ends before or after its {coding} data.")
    return found
