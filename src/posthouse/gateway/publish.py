"""Publishing: from the bytes of a request to events that are durable with all that they owe."""

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, TypeVar

import msgspec

from posthouse.core import limits
from posthouse.core.envelope import check_json, parse_rfc3339
from posthouse.core.errors import (
    IdempotencyConflict,
    InvalidInput,
    MalformedJson,
    PosthouseError,
    StoreUnavailable,
    TooLarge,
)
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.ids import EVENT, make_id, parse_id
from posthouse.core.model import Environment, Event, Lane, Tenant
from posthouse.core.ports import Clock
from posthouse.core.routing import validate_event_type
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.intake import IntakeBatcher
from posthouse.gateway.key_source import KeySource
from posthouse.gateway.routes import EventRouter
from posthouse.gateway.selection import Selection
from posthouse.store.protocol import Accepted, AcceptRequest, IdentityReused, Overtaken, StaleCatalogue

_T = TypeVar("_T")

DEFAULT_TENANT: Final = "default"

_EVENT_ID: Final = re.compile(rf"[A-Za-z0-9_:/@+=~-]{{1,{limits.EVENT_ID_CHARS_MAX}}}")
_TENANT_ID: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.:@/+=~-]{{0,{limits.TENANT_CHARS_MAX - 1}}}")
_PRINTABLE: Final = re.compile(rf"[ -~]{{1,{limits.IDEMPOTENCY_KEY_CHARS_MAX}}}")
_REROUTES_MAX: Final = 16


class _EventIn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One event as a publisher writes it."""

    type: str
    data: msgspec.Raw
    tenant: str | None = None
    id: str | None = None
    occurred_at: str | None = None
    ordering_key: str | None = None


class _BatchIn(msgspec.Struct, forbid_unknown_fields=True):
    events: list[_EventIn]


class _BatchParts(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]


class _Prepared(msgspec.Struct, gc=False):
    """An event that is valid but not routed yet."""

    event: Event
    lane: Lane
    identities: tuple[tuple[str, str], ...]
    fingerprint: bytes


_decode_event: Final = msgspec.json.Decoder(_EventIn).decode
_decode_batch: Final = msgspec.json.Decoder(_BatchIn).decode
_decode_parts: Final = msgspec.json.Decoder(_BatchParts).decode


class Publisher:
    """Publishes events: decode, check, route, accept, answer."""

    def __init__(
        self,
        catalogue: Catalogue,
        router: EventRouter,
        intake: IntakeBatcher,
        clock: Clock,
        new_key: KeySource,
        *,
        reach: Reach = pass_by,
    ) -> None:
        self._router = router
        self._catalogue = catalogue
        self._intake = intake
        self._clock = clock
        self._new_key = new_key
        self._reach = reach

    async def publish(self, environment: Environment, body: bytes, idempotency_key: str | None) -> Accepted:
        """Publish the one event in ``body``.

        Raises InvalidInput, MalformedJson, TooLarge, IdempotencyConflict, Overloaded,
        StoreUnavailable or ShuttingDown; then nothing was stored, but for StoreUnavailable, whose
        outcome is unknown.
        """
        if len(body) > limits.EVENT_BODY_BYTES_MAX:
            raise TooLarge(f"An event takes at most {limits.EVENT_BODY_BYTES_MAX} bytes.")
        item = _decode(_decode_event, body)
        check_json(body)
        identity = None if idempotency_key is None else check_idempotency_key(idempotency_key)
        prepared = self._prepare(environment, item, identity, self._clock.now_ms())
        return (await self._accept((prepared,)))[0]

    async def publish_batch(
        self, environment: Environment, body: bytes, idempotency_key: str | None
    ) -> tuple[Accepted, ...]:
        """Publish all events of ``body`` in one transaction, or none of them; errors name each bad item."""
        if len(body) > limits.BATCH_BODY_BYTES_MAX:
            raise TooLarge(f"A batch takes at most {limits.BATCH_BODY_BYTES_MAX} bytes.")
        if idempotency_key is not None:
            check_idempotency_key(idempotency_key)
        items = _decode_items(body)
        check_json(body)
        if not items:
            raise InvalidInput.at("events", "empty", "A batch holds at least one event.")
        now = self._clock.now_ms()
        prepared: list[_Prepared] = []
        errors: list[dict[str, object]] = []
        for position, item in enumerate(items):
            # Each item gets an identity of its own, so a repeated batch finds each event again.
            identity = None if idempotency_key is None else f"{idempotency_key}#{position}/{len(items)}"
            try:
                event = item if isinstance(item, _EventIn) else _decode(_decode_event, bytes(item))
                prepared.append(self._prepare(environment, event, identity, now))
            except PosthouseError as error:
                errors += _at(position, error)
        if errors:
            raise InvalidInput(f"Nothing of the batch was stored; problems: {len(errors)}.", errors=errors)
        return await self._accept(prepared)

    def _prepare(self, environment: Environment, item: _EventIn, identity: str | None, now: int) -> _Prepared:
        validate_event_type(item.type)
        if len(item.data) > limits.EVENT_BODY_BYTES_MAX:
            raise TooLarge(f"The data of an event takes at most {limits.EVENT_BODY_BYTES_MAX} bytes.")
        tenant = DEFAULT_TENANT if item.tenant is None else check_tenant_id(item.tenant)
        occurred_at = None if item.occurred_at is None else _field("occurred_at", parse_rfc3339, item.occurred_at)
        if item.ordering_key is not None:
            _check_ordering_key(item.ordering_key)
        key = self._new_key()
        identities: tuple[tuple[str, str], ...] = ()
        if item.id is not None:
            identities = (("id", _check_event_id(item.id)),)
        if identity is not None:
            identities = (*identities, ("key", identity))
        event = Event(
            key=key,
            id=item.id or make_id(EVENT, key),
            environment=environment,
            tenant=tenant,
            type=item.type,
            accepted_at=now,
            data=bytes(item.data),
            occurred_at=occurred_at,
            ordering_key=item.ordering_key,
        )
        fingerprint = _fingerprint(event, item.id) if identities else b""
        return _Prepared(event, self._lane(event), identities, fingerprint)

    def _lane(self, event: Event) -> Lane:
        """Where its deliveries start. One that says no time of its own, or a time to come, is fresh."""
        age_ms = None if event.occurred_at is None else event.accepted_at - event.occurred_at
        return self._router.lane(event.environment, event.tenant, age_ms=age_ms)

    async def _accept(self, prepared: Sequence[_Prepared]) -> tuple[Accepted, ...]:
        for _ in range(_REROUTES_MAX):
            request = self._route(prepared)
            self._reach(Failpoint.ACCEPT_ROUTED)
            result = await self._intake.submit(request)
            if isinstance(result, tuple):
                self._catalogue.named(request.new_tenants, request.catalogue_version)
                return result
            if isinstance(result, IdentityReused):
                raise _reused(result, len(prepared))
            if isinstance(result, Overtaken):
                self._new_key.raise_to(result.floor)
                prepared = [_with_key(item, self._new_key()) for item in prepared]
                continue
            assert isinstance(result, StaleCatalogue)
            await self._catalogue.refresh()
        raise StoreUnavailable("The endpoints keep changing faster than events can be routed.")

    def _route(self, prepared: Sequence[_Prepared]) -> AcceptRequest:
        router = self._router
        version = self._catalogue.version
        events = []
        new_tenants: dict[str, Tenant] = {}
        deliveries = 0
        selection = Selection()
        for item in prepared:
            new = router.route(
                item.event, item.lane, selection, identities=item.identities, fingerprint=item.fingerprint
            )
            deliveries += len(new.owed)
            tenant = router.new_tenant(item.event)
            if tenant is not None:
                new_tenants[tenant.id] = tenant
            events.append(new)
        if deliveries > limits.REQUEST_DELIVERIES_MAX:
            message = (
                f"The batch owes {deliveries} deliveries; at most {limits.REQUEST_DELIVERIES_MAX} go in one request."
            )
            raise TooLarge(message, hint="Split the batch.")
        return AcceptRequest(tuple(events), version, tuple(new_tenants.values()))


def _with_key(item: _Prepared, key: int) -> _Prepared:
    """The same event under another key; an id that was made of the key is made anew."""
    event = item.event
    made = event.id == make_id(EVENT, event.key)  # none of the publisher's own has this form
    event = msgspec.structs.replace(event, key=key, id=make_id(EVENT, key) if made else event.id)
    return _Prepared(event, item.lane, item.identities, item.fingerprint)


def check_idempotency_key(text: str) -> str:
    """``text`` if it may be an Idempotency-Key (1 to 255 printable ASCII characters); raises InvalidInput."""
    if not _PRINTABLE.fullmatch(text):
        message = f"An Idempotency-Key holds 1 to {limits.IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters."
        raise InvalidInput.at("Idempotency-Key", "idempotency_key", message)
    return text


def check_tenant_id(text: str) -> str:
    """``text`` if it may be a tenant's id; raises InvalidInput."""
    if not _TENANT_ID.fullmatch(text):
        message = f"A tenant id holds 1 to {limits.TENANT_CHARS_MAX} of A-Z a-z 0-9 _ . : @ / + = ~ -"
        raise InvalidInput.at("tenant", "tenant_id", message)
    return text


def _check_event_id(text: str) -> str:
    if not _EVENT_ID.fullmatch(text):
        # A dot would make the signed content "id.timestamp.body" ambiguous.
        message = f"An event id holds 1 to {limits.EVENT_ID_CHARS_MAX} of A-Z a-z 0-9 _ : / @ + = ~ -, and no dot."
        raise InvalidInput.at("id", "event_id", message)
    if parse_id(EVENT, text) is not None:
        raise InvalidInput.at("id", "reserved_id", "Ids of this form are made by Posthouse only.")
    return text


def _check_ordering_key(text: str) -> None:
    if not 1 <= len(text) <= limits.ORDERING_KEY_CHARS_MAX or not text.isprintable():
        message = f"An ordering key holds 1 to {limits.ORDERING_KEY_CHARS_MAX} printable characters."
        raise InvalidInput.at("ordering_key", "ordering_key", message)


def _decode_items(body: bytes) -> Sequence[_EventIn | msgspec.Raw]:
    """The items of a batch; undecoded ones where any has the wrong shape, so that each can be named."""
    items: Sequence[_EventIn | msgspec.Raw]
    try:
        items = _decode(_decode_batch, body).events
    except InvalidInput:
        items = _decode(_decode_parts, body).events
    if len(items) > limits.BATCH_EVENTS_MAX:
        raise TooLarge(f"A batch holds at most {limits.BATCH_EVENTS_MAX} events.")
    return items


def _decode(decoder: Callable[[bytes], _T], body: bytes) -> _T:
    """What ``decoder`` makes of ``body``; every way in which that fails is one of our errors."""
    try:
        return decoder(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        field = path.strip("`").removeprefix("$.") or "body"
        raise InvalidInput.at(field, "invalid", f"{message}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedJson(f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        message = f"JSON may nest at most {limits.JSON_DEPTH_MAX} levels."
        raise InvalidInput.at("body", "nested_too_deep", message) from error


def _field(name: str, parse: Callable[[str], _T], text: str) -> _T:
    try:
        return parse(text)
    except InvalidInput as error:
        raise InvalidInput.at(name, "invalid", error.message) from error


def _fingerprint(event: Event, own_id: str | None) -> bytes:
    """Of all that the publisher said: under one Idempotency-Key, an event with another id is another event."""
    digest = blake2b(digest_size=16)
    for part in (event.type, event.tenant, str(event.occurred_at), event.ordering_key or "", own_id or ""):
        digest.update(part.encode())
        digest.update(b"\0")
    digest.update(event.data)
    return digest.digest()


def _reused(result: IdentityReused, count: int) -> IdempotencyConflict:
    if count == 1:
        return IdempotencyConflict()
    errors = [
        _problem(f"events[{position}]", IdempotencyConflict.code, "This id or key was used for another event.")
        for position in result.positions
    ]
    return IdempotencyConflict("Events of the batch re-use ids; nothing was stored.", errors=errors)


def _problem(path: str, code: str, message: str) -> dict[str, object]:
    return {"path": path, "code": code, "message": message}


def _at(position: int, error: PosthouseError) -> list[dict[str, object]]:
    """The problems of one item, as problems of the batch."""
    inner = error.errors or (_problem("", error.code, error.message),)
    return [
        {**problem, "path": f"events[{position}].{problem['path']}".rstrip("."), "item": position} for problem in inner
    ]
