"""Problem documents (RFC 9457): how every refusal looks."""

from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.types import Send

from posthouse.core.errors import (
    InvalidInput,
    MalformedJson,
    MethodNotAllowed,
    NotFound,
    PosthouseError,
    TooLarge,
    UnsupportedMediaType,
)

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:posthouse:problem:"
INSTANCE_CHARS_MAX: Final = 512

Headers = list[tuple[bytes, bytes]]


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The members of a problem document. ``title`` belongs to the code, ``detail`` to this very case."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str
    instance: str
    errors: tuple[dict[str, Any], ...] = ()


def problem_of(error: PosthouseError, instance: str) -> Problem:
    """The document for ``error``; ``instance`` is the path that was asked for."""
    return Problem(
        type=TYPE_PREFIX + error.code,
        title=(type(error).__doc__ or "").strip().splitlines()[0],
        status=error.status,
        detail=error.message,
        code=error.code,
        hint=error.advice,
        instance=instance[:INSTANCE_CHARS_MAX],
        errors=tuple(dict(entry) for entry in error.errors),
    )


def encode_problem(error: PosthouseError, instance: str, *, allow: str | None = None) -> tuple[bytes, Headers]:
    """The body of the answer for ``error``, and its headers. ``allow``: the methods that the path takes."""
    body = msgspec.json.encode(problem_of(error, instance))
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b'Bearer realm="posthouse"'))
    if allow is not None:
        headers.append((b"allow", allow.encode()))
    return body, headers


async def send_problem(send: Send, error: PosthouseError, instance: str, *, allow: str | None = None) -> None:
    """Answer with ``error``."""
    body, headers = encode_problem(error, instance, allow=allow)
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_BY_STATUS: Final = {
    kind.status: kind
    for kind in (
        MalformedJson,
        NotFound,
        MethodNotAllowed,
        TooLarge,
        UnsupportedMediaType,
        InvalidInput,
    )
}


def error_for_status(status: int) -> PosthouseError:
    """The error of our own for a status that the framework came up with."""
    if status == HTTPStatus.NOT_FOUND:
        return NotFound("There is nothing at this path.", hint="See /openapi.json for all there is.")
    return _BY_STATUS.get(status, PosthouseError)()
