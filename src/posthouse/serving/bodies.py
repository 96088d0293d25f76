"""Request heads and bodies, read within their bounds and checked before anything parses them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from starlette.types import Message, Receive, Scope

from posthouse.core.envelope import check_json
from posthouse.core.errors import InvalidInput, MalformedJson, Overloaded, TooLarge, UnsupportedMediaType
from posthouse.core.limits import BODIES_BYTES_MAX, JSON_DEPTH_MAX

AUTHORIZATION: Final = b"authorization"
CONTENT_ENCODING: Final = b"content-encoding"
CONTENT_LENGTH: Final = b"content-length"
CONTENT_TYPE: Final = b"content-type"
IDEMPOTENCY_KEY: Final = b"idempotency-key"

_ONCE: Final = frozenset({AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, IDEMPOTENCY_KEY})
_JSON: Final = b"application/json"
_UTF_8: Final = frozenset({b"utf-8", b"utf8"})


class Disconnected(Exception):
    """The client went away before its request was complete; there is nobody to answer."""


def fields_of(scope: Scope) -> Mapping[bytes, bytes]:
    """The headers by name. Raises InvalidInput if one of those that we read is there twice."""
    headers = scope["headers"]
    fields: dict[bytes, bytes] = dict(headers)
    if len(fields) != len(headers):
        names = [name for name, _ in headers]
        for name in _ONCE:
            if names.count(name) > 1:
                text = name.decode().title()
                raise InvalidInput.at(text, "repeated", f"The header {text} is there twice.", hint="Send it once.")
    return fields


def text_of(value: bytes | None) -> str | None:
    """A header's value as text."""
    return None if value is None else value.decode("latin-1")


def check_media_type(fields: Mapping[bytes, bytes]) -> None:
    """Raise UnsupportedMediaType unless the body is JSON in UTF-8 without a content encoding."""
    value = fields.get(CONTENT_TYPE)
    if value != _JSON and not _is_json(value):
        shown = "missing" if value is None else f"'{value.decode('latin-1')[:128]}'"
        raise UnsupportedMediaType(f"The content type is {shown}, not application/json.")
    encoding = fields.get(CONTENT_ENCODING)
    if encoding is not None and encoding.strip().lower() not in {b"", b"identity"}:
        raise UnsupportedMediaType("The body has a content encoding.")


def check_length(fields: Mapping[bytes, bytes], bytes_max: int) -> None:
    """Raise TooLarge if the request announces a body beyond ``bytes_max``."""
    declared = fields.get(CONTENT_LENGTH)
    if declared is not None and int(declared) > bytes_max:
        raise too_large(bytes_max)


def check_body(body: bytes) -> None:
    """Raise MalformedJson or InvalidInput unless ``body`` is JSON that everybody can read."""
    try:
        msgspec.json.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput.at("body", "number", str(error), hint="Use numbers that a double can hold.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedJson(f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        message = f"Arrays and objects are nested more than {JSON_DEPTH_MAX} deep."
        raise InvalidInput.at("body", "nested_too_deep", message, hint="Flatten the body.") from error
    check_json(body)


def too_large(bytes_max: int) -> TooLarge:
    """The refusal of a body beyond ``bytes_max``."""
    return TooLarge(f"The body is larger than {bytes_max} bytes.")


class Bodies:
    """Collects bodies that come in several parts, within one budget of memory for all of them.

    A body that the server hands over in one part is in memory already and does not come here.
    """

    def __init__(self, *, held_bytes_max: int = BODIES_BYTES_MAX) -> None:
        self._held_bytes_max = held_bytes_max
        self._held_bytes = 0

    @asynccontextmanager
    async def collect(self, first: Message, receive: Receive, *, bytes_max: int) -> AsyncIterator[bytes]:
        """The whole body that starts with ``first``; its memory counts until the block ends.

        Raises TooLarge as soon as more than ``bytes_max`` came, Overloaded when the budget is spent,
        Disconnected when the client went away.
        """
        parts: list[bytes] = []
        size = 0
        message = first
        try:
            while True:
                if message["type"] != "http.request":
                    raise Disconnected
                part = message.get("body", b"")
                size += len(part)
                self._held_bytes += len(part)
                if size > bytes_max:
                    raise too_large(bytes_max)
                if self._held_bytes > self._held_bytes_max:
                    raise Overloaded("Too many large bodies are being read.", retry_after_s=1)
                parts.append(part)
                if not message.get("more_body", False):
                    break
                message = await receive()
            yield b"".join(parts)
        finally:
            self._held_bytes -= size


def _is_json(value: bytes | None) -> bool:
    if value is None:
        return False
    kind, *parameters = value.lower().split(b";")
    if kind.strip() != _JSON:
        return False
    for parameter in parameters:
        name, _, setting = parameter.strip().partition(b"=")
        if name == b"charset" and setting.strip(b'"') not in _UTF_8:
            return False
    return True
