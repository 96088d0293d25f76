"""Publishing: from the bytes of a request to events that are durable with all that they owe."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from posthouse.core import limits
from posthouse.core.envelope import check_json
from posthouse.core.errors import (
    IdempotencyConflict,
    InvalidInput,
    NotAccepting,
    PosthouseError,
    StoreUnavailable,
    TooLarge,
)
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.ids import EVENT, make_id
from posthouse.core.model import Environment, Event, Lane, Tenant
from posthouse.core.ports import Clock
from posthouse.core.publishing import EventIn, Said, check_event, decode, fingerprint, read_event, read_item
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.intake import IntakeBatcher
from posthouse.gateway.key_source import KeySource
from posthouse.gateway.routes import EventRouter
from posthouse.gateway.selection import Selection
from posthouse.store.protocol import Accepted, AcceptRequest, AcceptResult, IdentityReused, Overtaken, StaleCatalogue

_PRINTABLE: Final = re.compile(rf"[ -~]{{1,{limits.IDEMPOTENCY_KEY_CHARS_MAX}}}")
_REROUTES_MAX: Final = 16


class _BatchIn(msgspec.Struct, forbid_unknown_fields=True):
    events: list[EventIn]


class _BatchParts(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]


class Prepared(msgspec.Struct, gc=False):
    """An event that is valid but not routed yet."""

    event: Event
    lane: Lane
    identities: tuple[tuple[str, str], ...]
    fingerprint: bytes


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
        accepts: bool = True,
        reach: Reach = pass_by,
    ) -> None:
        """``accepts``: whether this node takes what people publish; what is in an outbox it takes in any case."""
        self._accepts = accepts
        self._router = router
        self._catalogue = catalogue
        self._intake = intake
        self._clock = clock
        self._new_key = new_key
        self._reach = reach

    async def publish(self, environment: Environment, body: bytes, idempotency_key: str | None) -> Accepted:
        """Publish the one event in ``body``.

        Raises InvalidInput, MalformedJson, TooLarge, IdempotencyConflict, Overloaded,
        StoreUnavailable, ShuttingDown or NotAccepting; then nothing was stored, but for StoreUnavailable, whose
        outcome is unknown.
        """
        self._check_accepting()
        item = read_event(body)
        identity = None if idempotency_key is None else check_idempotency_key(idempotency_key)
        prepared = self.prepare(environment, check_event(item), identity, self._clock.now_ms())
        return (await self._accept((prepared,)))[0]

    async def publish_batch(
        self, environment: Environment, body: bytes, idempotency_key: str | None
    ) -> tuple[Accepted, ...]:
        """Publish all events of ``body`` in one transaction, or none of them; errors name each bad item."""
        self._check_accepting()
        if len(body) > limits.BATCH_BODY_BYTES_MAX:
            raise TooLarge(f"A batch takes at most {limits.BATCH_BODY_BYTES_MAX} bytes.")
        if idempotency_key is not None:
            check_idempotency_key(idempotency_key)
        items = _decode_items(body)
        check_json(body)
        if not items:
            raise InvalidInput.at("events", "empty", "A batch holds at least one event.")
        now = self._clock.now_ms()
        prepared: list[Prepared] = []
        errors: list[dict[str, object]] = []
        for position, item in enumerate(items):
            # Each item gets an identity of its own, so a repeated batch finds each event again.
            identity = None if idempotency_key is None else f"{idempotency_key}#{position}/{len(items)}"
            try:
                event = item if isinstance(item, EventIn) else read_item(item)
                prepared.append(self.prepare(environment, check_event(event), identity, now))
            except PosthouseError as error:
                errors += _at(position, error)
        if errors:
            raise InvalidInput(f"Nothing of the batch was stored; problems: {len(errors)}.", errors=errors)
        return await self._accept(prepared)

    def _check_accepting(self) -> None:
        if not self._accepts:
            raise NotAccepting

    def prepare(
        self, environment: Environment, said: Said, identity: str | None, now: int, *, said_at: int | None = None
    ) -> Prepared:
        """What was said, as an event with a new key.

        Args:
            environment: Where it belongs.
            said: Checked.
            identity: An Idempotency-Key that stands for it.
            now: When it is accepted, Unix ms.
            said_at: When it was said, if that was before; one that does not say when it occurred is as old as that.
        """
        key = self._new_key()
        identities: tuple[tuple[str, str], ...] = ()
        if said.id is not None:
            identities = (("id", said.id),)
        if identity is not None:
            identities = (*identities, ("key", identity))
        event = Event(
            key=key,
            id=said.id or make_id(EVENT, key),
            environment=environment,
            tenant=said.tenant,
            type=said.type,
            accepted_at=now,
            data=said.data,
            occurred_at=said.occurred_at,
            ordering_key=said.ordering_key,
        )
        return Prepared(event, self._lane(event, said_at), identities, fingerprint(said) if identities else b"")

    def _lane(self, event: Event, said_at: int | None) -> Lane:
        """Where its deliveries start. One that says no time of its own, or a time to come, is fresh."""
        occurred_at = said_at if event.occurred_at is None else event.occurred_at
        age_ms = None if occurred_at is None else event.accepted_at - occurred_at
        return self._router.lane(event.environment, event.tenant, age_ms=age_ms)

    async def _accept(self, prepared: Sequence[Prepared]) -> tuple[Accepted, ...]:
        request, result = await self.accept(prepared, self._intake.submit)
        if isinstance(result, IdentityReused):
            raise _reused(result, len(prepared))
        self.learn_tenants(request)
        return result

    async def accept(
        self, prepared: Sequence[Prepared], submit: Callable[[AcceptRequest], Awaitable[AcceptResult]]
    ) -> tuple[AcceptRequest, tuple[Accepted, ...] | IdentityReused]:
        """Route these events, and again if the catalogue moved on meanwhile; what the store was asked, and its answer.

        Where others were faster with later keys, they get new ones.

        Args:
            prepared: The events.
            submit: Hands a request to the store.

        Raises:
            StoreUnavailable: It cannot write, or the catalogue changes too often.
            TooLarge: They owe too much together; a single event never does.
        """
        for _ in range(_REROUTES_MAX):
            request = self._route(prepared)
            self._reach(Failpoint.ACCEPT_ROUTED)
            result = await submit(request)
            if isinstance(result, Overtaken):
                self._new_key.raise_to(result.floor)
                prepared = [_with_key(item, self._new_key()) for item in prepared]
                continue
            if not isinstance(result, StaleCatalogue):
                return request, result
            await self._catalogue.refresh()
        raise StoreUnavailable("The endpoints keep changing faster than events can be routed.")

    def learn_tenants(self, request: AcceptRequest) -> None:
        """Know the tenants that a request named first: it is durable."""
        self._catalogue.named(request.new_tenants, request.catalogue_version)

    def _route(self, prepared: Sequence[Prepared]) -> AcceptRequest:
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


def _with_key(item: Prepared, key: int) -> Prepared:
    """The same event under another key; an id that was made of the key is made anew."""
    event = item.event
    made = event.id == make_id(EVENT, event.key)  # none of the publisher's own has this form
    event = msgspec.structs.replace(event, key=key, id=make_id(EVENT, key) if made else event.id)
    return Prepared(event, item.lane, item.identities, item.fingerprint)


def check_idempotency_key(text: str) -> str:
    """``text`` if it may be an Idempotency-Key (1 to 255 printable ASCII characters); raises InvalidInput."""
    if not _PRINTABLE.fullmatch(text):
        message = f"An Idempotency-Key holds 1 to {limits.IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters."
        raise InvalidInput.at("Idempotency-Key", "idempotency_key", message)
    return text


def _decode_items(body: bytes) -> Sequence[EventIn | msgspec.Raw]:
    """The items of a batch; undecoded ones where any has the wrong shape, so that each can be named."""
    items: Sequence[EventIn | msgspec.Raw]
    try:
        items = decode(_decode_batch, body).events
    except InvalidInput:
        items = decode(_decode_parts, body).events
    if len(items) > limits.BATCH_EVENTS_MAX:
        raise TooLarge(f"A batch holds at most {limits.BATCH_EVENTS_MAX} events.")
    return items


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
