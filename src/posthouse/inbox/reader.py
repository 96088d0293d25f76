"""Reading one request: what it holds, where that goes, and what is wrong with it.

All of it is a function of this one request and of its source's preset. Nothing is remembered from one request to the
next, so no event can get the type of another.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from posthouse.core.envelope import check_json
from posthouse.core.errors import PosthouseError
from posthouse.core.ids import EVENT, make_id
from posthouse.core.inbound import WHOLE, Objection, Source
from posthouse.core.limits import ORDERING_KEY_CHARS_MAX, SOURCE_BODY_BYTES_MAX
from posthouse.core.model import Event, Tenant
from posthouse.core.ports import Clock
from posthouse.core.routing import validate_event_type
from posthouse.engine.seldom import SeldomLog
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.receive import as_received
from posthouse.gateway.routes import EventRouter
from posthouse.gateway.selection import Selection
from posthouse.providers.preset import Item, Preset, Reading
from posthouse.providers.received import Unreadable, content
from posthouse.store.protocol import Doubt, InboxItem, ReadEvent, ReadRequest
from posthouse.telemetry import Log

_DIGEST_BYTES: Final = 16
_DETAIL_CHARS_MAX: Final = 500


class RequestReader:
    """Reads what is in the inbox.

    Args:
        catalogue: whose version routes are made by.
        router: where events go.
        clock: when they are accepted.
        new_key: makes identities.
    """

    def __init__(self, catalogue: Catalogue, router: EventRouter, clock: Clock, new_key: Callable[[], int]) -> None:
        self._catalogue = catalogue
        self._router = router
        self._clock = clock
        self._new_key = new_key
        self._failed = SeldomLog(Log.PRESET_FAILED, clock)

    def refuse(self, item: InboxItem, source: Source, objection: Objection, detail: str) -> ReadRequest:
        """Nothing of it is passed on."""
        return self._found(item, source, doubts=(Doubt(item.position, objection, detail[:_DETAIL_CHARS_MAX]),))

    def read(self, item: InboxItem, source: Source, preset: Preset) -> ReadRequest:
        """What is in a request whose sender is known."""
        received = as_received(item.request)
        try:
            reading = preset.read(received, content(received))
        except Unreadable as error:
            return self.refuse(item, source, Objection.UNREADABLE, str(error))
        except Exception as fault:  # noqa: BLE001 - a bug in a preset concerns this request and no other
            self._failed(fault, provider=source.provider)
            detail = f"The preset failed at it: {type(fault).__name__}."
            return self.refuse(item, source, Objection.UNREADABLE, detail)
        return self._sort(item, source, preset, reading)

    def _sort(self, item: InboxItem, source: Source, preset: Preset, reading: Reading) -> ReadRequest:
        """Which of its events are passed on, and which are not."""
        selection, now = Selection(), self._clock.now_ms()
        events: list[ReadEvent] = []
        doubts: list[Doubt] = []
        tenants: dict[str, Tenant] = {}
        for position, found in enumerate(reading.items):
            if item.position not in {WHOLE, position}:
                continue
            doubt = _doubt(found, position, item.waived)
            if doubt is not None:
                doubts.append(doubt)
                continue
            event = self._event(found, source, now)
            said_at = item.request.received_at if found.occurred_at is None else found.occurred_at
            lane = self._router.lane(
                event.environment, event.tenant, age_ms=now - said_at, fresh_seconds=source.rules.fresh_seconds
            )
            tenant = self._router.new_tenant(event)
            if tenant is not None:
                tenants[tenant.id] = tenant
            new = self._router.route(event, lane, selection, source_key=source.key)
            stream = None if found.sequence is None else found.stream or ""
            window_ms = preset.window_ms(found)
            events.append(ReadEvent(new, position, _digest(found), window_ms, stream, found.sequence))
        return self._found(
            item,
            source,
            events=tuple(events),
            doubts=tuple(doubts),
            is_heartbeat=reading.is_heartbeat,
            delivery=reading.delivery,
            new_tenants=tuple(tenants.values()),
        )

    def _event(self, found: Item, source: Source, now: int) -> Event:
        key = self._new_key()
        return Event(
            key=key,
            id=make_id(EVENT, key),
            environment=source.environment,
            tenant=source.tenant,
            type=found.type,
            accepted_at=now,
            data=found.data,
            occurred_at=found.occurred_at,
            ordering_key=_ordering_key(found.ordering_key),
        )

    def _found(
        self,
        item: InboxItem,
        source: Source,
        *,
        events: tuple[ReadEvent, ...] = (),
        doubts: tuple[Doubt, ...] = (),
        is_heartbeat: bool = False,
        delivery: str | None = None,
        new_tenants: tuple[Tenant, ...] = (),
    ) -> ReadRequest:
        count = 1 + sum(event.sequence is not None for event in events)
        return ReadRequest(
            item=item,
            environment=source.environment,
            tenant=source.tenant,
            catalogue_version=self._catalogue.version,
            events=events,
            doubts=doubts,
            is_heartbeat=is_heartbeat,
            delivery=delivery,
            new_tenants=new_tenants,
            incident_keys=tuple([self._new_key() for _ in range(count)]),
        )


def _doubt(found: Item, position: int, waived: Objection | None) -> Doubt | None:
    """What is wrong with one event of a request, if anything."""
    if found.unreadable is not None:
        return Doubt(position, Objection.UNREADABLE, found.unreadable[:_DETAIL_CHARS_MAX], found.type)
    if found.contradiction is not None and waived is not Objection.TYPE_CONTRADICTION:
        return Doubt(position, Objection.TYPE_CONTRADICTION, found.contradiction[:_DETAIL_CHARS_MAX], found.type)
    if len(found.data) > SOURCE_BODY_BYTES_MAX:
        detail = f"The event has more than {SOURCE_BODY_BYTES_MAX:,} bytes."
        return Doubt(position, Objection.UNREADABLE, detail, found.type)
    try:
        validate_event_type(found.type)
        check_json(found.data)
    except PosthouseError as error:
        return Doubt(position, Objection.UNREADABLE, error.message[:_DETAIL_CHARS_MAX], found.type)
    return None


def _digest(found: Item) -> bytes:
    """What stands for an event within its source: the sender's own id of it, or else all that it says."""
    if found.identity is not None:
        return blake2b(found.identity.encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES, person=b"id").digest()
    digest = blake2b(found.data, digest_size=_DIGEST_BYTES, person=b"content")
    digest.update(b"\0" + found.type.encode())
    return digest.digest()


def _ordering_key(text: str | None) -> str | None:
    """An ordering key that may be one; a longer one by its digest, so that what belongs together stays together."""
    if text is None or not text or not text.isprintable():
        return None
    if len(text) <= ORDERING_KEY_CHARS_MAX:
        return text
    return blake2b(text.encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
