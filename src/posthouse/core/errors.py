"""The error tree: every refusal has a stable code, a message and a hint.

The class docstring is the default message. ``status`` is the HTTP status that the API answers
with; the CLI turns the same table into exit codes. Codes are API: they never change meaning.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self


class PosthouseError(Exception):
    """Something went wrong inside Posthouse."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    hint: ClassVar[str] = "Look at the node's log; the request may be repeated safely."

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        errors: Sequence[Mapping[str, object]] = (),
        retry_after_s: int | None = None,
    ) -> None:
        self.message = message or (self.__doc__ or self.code).strip().splitlines()[0]
        #: What the caller can do about it.
        self.advice = hint or self.hint
        #: One entry per bad field or item: ``{"path": …, "code": …, "message": …}``.
        self.errors = tuple(errors)
        #: Seconds after which a repeat makes sense, or None.
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


class InvalidInput(PosthouseError):
    """The request is not valid."""

    code = "invalid_input"
    status = 422
    hint = "Correct the fields that are named in errors and send the request again."

    @classmethod
    def at(cls, path: str, code: str, message: str, *, hint: str | None = None) -> Self:
        """The error for one field: ``path`` names it, ``code`` (stable) says what is wrong with it."""
        return cls(message, hint=hint, errors=({"path": path, "code": code, "message": message},))


class MalformedJson(PosthouseError):
    """The body is not valid JSON."""

    code = "malformed_json"
    status = 400
    hint = "Send one JSON document, encoded as UTF-8."


class MalformedRequest(PosthouseError):
    """The request is not valid HTTP."""

    code = "malformed_request"
    status = 400
    hint = "Use a standard HTTP/1.1 client; the connection was closed."


class RequestTimeout(PosthouseError):
    """The request did not arrive in time."""

    code = "request_timeout"
    status = 408
    hint = "Send the whole request without pauses; the connection was closed."


class TooLarge(PosthouseError):
    """The request is larger than the limit."""

    code = "too_large"
    status = 413
    hint = "Send a smaller body, or split it into several requests."


class HeadersTooLarge(PosthouseError):
    """The request headers are larger than the limit."""

    code = "headers_too_large"
    status = 431
    hint = "Send fewer or shorter headers."


class UnsupportedMediaType(PosthouseError):
    """The content type or content encoding is not supported."""

    code = "unsupported_media_type"
    status = 415
    hint = "Send application/json without a content encoding."


class Unauthorized(PosthouseError):
    """The API key is missing or not valid."""

    code = "unauthorized"
    status = 401
    hint = "Send 'Authorization: Bearer <API key>'; a new store writes its first key to DIR/api_key."


class SignatureInvalid(PosthouseError):
    """The request is not signed by anyone who knows the secret."""

    code = "signature_invalid"
    status = 401
    hint = "Check the secret, this machine's clock, and that the body is verified byte for byte as it came."

    def __init__(self, reason: str, message: str | None = None) -> None:
        """``reason`` is one of the stable codes that :mod:`posthouse.core.signature` names."""
        super().__init__(message)
        self.reason = reason


class Forbidden(PosthouseError):
    """The API key's scope does not allow this."""

    code = "forbidden"
    status = 403
    hint = "Use a key with a wider scope."


class NotFound(PosthouseError):
    """There is no such thing."""

    code = "not_found"
    status = 404
    hint = "Check the id, and that the API key belongs to the same environment."


class MethodNotAllowed(PosthouseError):
    """This path does not take that method."""

    code = "method_not_allowed"
    status = 405
    hint = "See the Allow header for the methods of this path."


class Conflict(PosthouseError):
    """The request contradicts what is stored."""

    code = "conflict"
    status = 409
    hint = "Read the current state and decide again."


class IdempotencyConflict(Conflict):
    """The same id or Idempotency-Key was used before with a different body."""

    code = "idempotency_conflict"
    hint = "Use a new id or Idempotency-Key for a different event; repeat the very same body to repeat a request."


class BlockedAddress(InvalidInput):
    """The URL leads to an address that must not be called."""

    code = "blocked_address"
    hint = "Use a public address, or allow the network with --allow-network."


class SourcePaused(PosthouseError):
    """The source is paused and takes nothing."""

    code = "source_paused"
    status = 503
    hint = "Send it again later; an operator resumes the source."


class Overloaded(PosthouseError):
    """The node is at a bound and refuses new work for now."""

    code = "overloaded"
    status = 429
    hint = "Wait for Retry-After seconds, then send the request again."


class StoreUnavailable(PosthouseError):
    """The store cannot make anything durable now; the outcome of this request is unknown or none."""

    code = "store_unavailable"
    status = 503
    hint = "Repeat the request with the same id or Idempotency-Key."


class ShuttingDown(PosthouseError):
    """The node is stopping and takes no new work."""

    code = "shutting_down"
    status = 503
    hint = "Send the request to another node, or again in a few seconds."


class StoreInUse(PosthouseError):
    """Another node runs on this data directory."""

    code = "store_in_use"
    status = 503
    hint = "Stop the other node, or give this one a directory of its own."


class NotAccepting(PosthouseError):
    """This node only delivers; it takes no events and no requests of senders."""

    code = "not_accepting"
    status = 503
    hint = "Send it to a node whose role is all or edge; 'posthouse nodes' lists them."


class TooManyNodes(PosthouseError):
    """As many nodes are registered as there are numbers for."""

    code = "too_many_nodes"
    status = 503
    hint = "Stop nodes that are not needed; those that died are taken off the register within seconds by any other."


class StoreIncompatible(PosthouseError):
    """The data directory holds a store that this version cannot use."""

    code = "store_incompatible"
    status = 503
    hint = "Give the node a directory of its own, or restore a backup."


class StoreMoved(StoreIncompatible):
    """The contents of this store belong to another one; no node may run on it."""

    code = "store_moved"
    hint = "Start the node on the place that the message names."


class ArchiveInvalid(PosthouseError):
    """The archive is not whole, or is none."""

    code = "archive_invalid"
    status = 422
    hint = "Restore from another archive; this one is not as it was written."


class PlaceOccupied(PosthouseError):
    """Something is there already, and it is not overwritten."""

    code = "place_occupied"
    status = 409
    hint = "Name a place where nothing is."


class CopyDiffers(PosthouseError):
    """What was copied is not what it was copied from."""

    code = "copy_differs"
    status = 500
    hint = "Nothing was switched over; run the same command again."


class UnsafeLibrary(PosthouseError):
    """A library of a version that can lose data is in use."""

    code = "unsafe_library"
    status = 503
    hint = "Install the versions that the lock file names."


class ConfigurationError(PosthouseError):
    """A setting is not valid."""

    code = "configuration_error"
    status = 500
    hint = "Run 'posthouse doctor' to see each setting and where it came from."
